//! What stands behind the help of the commands.

/// The heading of what every command takes.
pub(super) const EVERYWHERE: &str = "With every command";

pub(super) const EXIT_CODES: &str = "\
Exit codes:
  0    done
  1    a file, list or journal could not be read or written
  2    the command line, the settings or the environment are wrong
  3    the app's credential or the token is not accepted
  4    the request is refused: it is wrong, or the task is not known
  5    at least one recording has no transcript; the others have theirs
  6    the broker or the service failed, or cannot be reached
  7    the deadline passed; the tasks go on
  8    nobody knows whether a recording was submitted: decide whether to submit it again
  130  interrupted; the tasks go on
  141  whoever read standard output has closed it, as `head` does";

pub(super) const EXAMPLES: &str = "\
Where tokens come from:
  A Valet broker hands out tokens that live for a minute. Its operator gives you its
  URL, an app id and a secret; store them with `valet login`, or:
    export VALET_URL=https://valet.example.com VALET_APP=acme VALET_SECRET=...
  Without a broker, call DashScope itself with a key of your own:
    export DASHSCOPE_API_KEY=sk-...
    valet --base-url https://dashscope-intl.aliyuncs.com/api/v1 transcribe ...

Examples:
  valet transcribe https://example.com/meeting.mp3
  valet transcribe --format txt,srt --out transcripts @urls.txt
  valet task 7574ee8f-38a3-4b1e-9280-11c33ab46e51 --wait --transcripts
  valet token --exec python3 transcribe.py";

pub(super) const TRANSCRIBE: &str = "\
Examples:
  valet transcribe https://example.com/meeting.mp3
  valet transcribe --diarization --speakers 3 https://example.com/interview.wav
  valet transcribe --model fun-asr-mtl --language sv https://example.com/radio.ogg
  valet transcribe --format txt,srt,json --out transcripts @urls.txt
  valet transcribe --dry-run --audio-length 3600 @urls.txt
  list-recordings | valet transcribe --deadline 3600 -q -

The service fetches recordings itself: URLs must be http or https, and open without a
login. Local files are put into its temporary storage first, which only Beijing has.
Transcripts on standard output come in the order of the recordings. A recording that
fails does not stop the others: it is named on standard error, and the exit code is 5.

What was submitted is in a journal before it is paid for. Run the same command again
after an interrupt or a crash: it waits for what is under way, and submits only what was
not. Recordings that are done are not done again, also in a longer list. A URL that is
signed anew is another recording.";
