// What the module offers. All times are in milliseconds.

/** What the broker's token endpoints answer, as a page's own backend may pass it on. */
export interface TokenAnswer {
  /** The relay token, at `/v1/tokens`. */
  token?: string;
  /** The same, at `/oauth/token`. */
  access_token?: string;
  /** Where it works. */
  base_url: string;
  /** The life that it has left, in seconds. */
  expires_in: number;
}

export interface ClientOptions {
  /**
   * Gives the ID token of the page's user, which is exchanged at `broker`; or an answer of the broker, which the page's
   * backend has fetched. Called anew for each token, about every 40 seconds while there is work, and not given up
   * before it gives up itself. A fault of its own that may pass is a `ValetError` of the kind `Unavailable`.
   */
  token: () => string | TokenAnswer | Promise<string | TokenAnswer>;
  /** The broker's URL, as `https://valet.example.com`. Needed if `token` gives ID tokens. */
  broker?: string;
  /** Another clock than the machine's. */
  clock?: Clock;
}

export interface Clock {
  now(): number;
  /** Calls `then` after `time`, unless what is returned is called before. */
  timer(time: number, then: () => void): () => void;
}

/** A transcription to be done (*Fun-ASR recording*); what is not set is left to the service. */
export interface TranscriptionRequest {
  /** Recordings: `http` or `https`, open to the service without a login; 1 to 100. */
  urls: string[];
  /** `fun-asr` unless set. */
  model?: string;
  vocabularyId?: string;
  /** The channels to transcribe, counted from 0; each one is billed. */
  channels?: number[];
  /** Words to replace or remove; sent as JSON text. */
  wordFilter?: object;
  /** Tells speakers apart; with a single channel only. */
  diarization?: boolean;
  /** About how many speakers there are, 2 to 100; only with diarization. */
  speakerCount?: number;
  /** The languages spoken, as `en`. */
  languageHints?: string[];
  /** From -1 to 1. */
  speechNoiseThreshold?: number;
  /** Parameters that this version does not know; sent as they are. */
  parameters?: Record<string, unknown>;
}

export type Status = 'PENDING' | 'RUNNING' | 'SUSPENDED' | 'SUCCEEDED' | 'FAILED' | 'CANCELED' | 'UNKNOWN' | (string & {});

export interface Task {
  id: string;
  status: Status;
  /** Whether it has ended, or is not known any more. */
  isFinal: boolean;
  results: Subtask[];
  /** Seconds of speech that are billed, once it has ended. */
  duration?: number;
  requestId?: string;
  /** All that the service said. */
  document: object;
}

/** What the service says of a file. */
export interface Subtask {
  file_url: string;
  subtask_status: Status;
  transcription_url?: string;
  code?: string;
  message?: string;
}

/** The result file of a recording, as the service wrote it. Empty if there is no speech in it. */
export interface Transcript {
  file_url: string;
  properties: {
    audio_format?: string;
    channels?: number[];
    original_sampling_rate?: number;
    original_duration_in_milliseconds?: number;
  };
  transcripts: {
    channel_id: number;
    content_duration_in_milliseconds?: number;
    text: string;
    sentences: {
      begin_time: number;
      end_time: number;
      text: string;
      sentence_id: number;
      speaker_id?: number;
      words: { begin_time: number; end_time: number; text: string; punctuation: string }[];
    }[];
  }[];
}

/** What came of a file: a transcript, or why there is none. */
export interface FileTranscription {
  /** Its place among the URLs that were named, counted from 0. */
  index: number;
  url: string;
  transcript?: Transcript;
  failure?: { code?: string; message: string; error?: ValetError };
}

export interface Transcription {
  task: Task;
  /** In the order in which they were named. */
  files: FileTranscription[];
}

export interface Abortable {
  signal?: AbortSignal;
}

export interface SubmitOptions extends Abortable {
  /** By which the relay knows a submit for 24 hours: asked again with the same key, it happens once. Plain ASCII. */
  idempotencyKey?: string;
}

export interface WaitOptions extends Abortable {
  /** Gives up after so long with `Deadline`; the task goes on. `Infinity` is no deadline, as is none at all. */
  deadline?: number;
  /** Told of the task each time something was learnt of it. */
  onProgress?: (task: Task) => void;
}

/** Transcribes recordings: all calls, on one token that is renewed underneath. An aborted call rejects with the signal's reason. */
export class Client {
  constructor(options: ClientOptions);
  /** A token that lives, for calls that this client does not make. */
  token(options?: Abortable): Promise<{ token: string; baseUrl: string }>;
  /** Submits a task. It is billed, and it goes on whether anyone waits for it or not. */
  submit(request: TranscriptionRequest, options?: SubmitOptions): Promise<Task>;
  /** How far a task is. */
  fetch(id: string, options?: Abortable): Promise<Task>;
  /** Waits for the end of a task, through passing faults and any number of tokens. */
  wait(id: string, options?: WaitOptions): Promise<Task>;
  /** Cancels a task that has not begun. */
  cancel(id: string, options?: Abortable): Promise<void>;
  /** The caller's own tasks of the last day, a page of them, as the service lists them. */
  tasks(options?: { page?: number; size?: number; status?: Status } & Abortable): Promise<{ total: number; tasks: object[] }>;
  /** Reads the transcripts of an ended task. A file that fails does not concern the others. */
  collect(task: Task, urls: string[], options?: Abortable): Promise<Transcription>;
  /** Reads a transcript from the `transcription_url` of a task's result. */
  download(transcriptionUrl: string, options?: Abortable): Promise<Transcript>;
  /** Submits, waits, and reads the transcripts. */
  transcribe(request: TranscriptionRequest, options?: SubmitOptions & WaitOptions): Promise<Transcription>;
}

export type Kind =
  /** The request breaks a rule; it was not sent. */
  | 'InvalidRequest'
  /** The client is set up wrongly. */
  | 'Configuration'
  /** The broker or the relay does not accept the token. */
  | 'Credentials'
  /** The request is refused for good. */
  | 'Refused'
  /** Too many requests; waiting helps. */
  | 'Throttled'
  /** The other side has a fault of its own; trying again may help. */
  | 'Unavailable'
  /** Nothing was sent: the device is offline. */
  | 'Unreachable'
  /** No answer can be read: none came, or the page may not see it. A browser does not say which. */
  | 'Lost'
  /**
   * A submit may or may not have arrived; `idempotencyKey` makes it safe to submit it again. If the `code` is
   * `SubmitOutcomeUnknown`, that key has the same answer for 24 hours: a new one submits it anew, maybe billed twice.
   */
  | 'Ambiguous'
  /** The answer is not what is documented, or too large. */
  | 'Malformed'
  /** The task is not known: it expired, or never was. */
  | 'UnknownTask'
  /** The task failed or was canceled as a whole. */
  | 'TaskFailed'
  /** The caller's own deadline passed; the task goes on. */
  | 'Deadline';

/** Why a call did not give what was asked. Holds no secret. */
export class ValetError extends Error {
  constructor(kind: Kind, message: string, details?: object);
  readonly kind: Kind;
  /** Whether the same call may succeed later. */
  readonly isRetryable: boolean;
  /** The code that the broker, the relay or the service gave. */
  readonly code?: string;
  /** The HTTP status it was answered with. */
  readonly status?: number;
  /** The id by which the broker knows the request. */
  readonly requestId?: string;
  /** How long the other side asks to wait. */
  readonly retryAfter?: number;
  /** The task that was waited for. It may go on, and it is paid for. */
  readonly taskId?: string;
  /** Of a submit that may have arrived: submitted again with this key, it happens once at most. */
  readonly idempotencyKey?: string;
}

export interface FormatOptions {
  /** Whether to tell who speaks, where the transcript does; so unless set. */
  speakers?: boolean;
}

export interface SubtitleOptions extends FormatOptions {
  /** The most columns of a line; a full-width character takes two. Unless set: 32 or 42, by the script. */
  lineLength?: number;
}

/** What subtitles show at a time. */
export interface Cue {
  begin: number;
  end: number;
  /** As `Speaker 1` or `Channel 2`; empty if there is only one. */
  voice: string;
  lines: string[];
}

/** The cues of subtitles, by when they appear. */
export function cues(transcript: Transcript, options?: SubtitleOptions): Cue[];
/** Plain text: where voices are told apart, each line is what one says until another does. */
export function txt(transcript: Transcript, options?: FormatOptions): string;
/** SubRip. */
export function srt(transcript: Transcript, options?: SubtitleOptions): string;
/** WebVTT. */
export function vtt(transcript: Transcript, options?: SubtitleOptions): string;
/** The transcript as the service wrote it, on one line. */
export function json(transcript: Transcript): string;
