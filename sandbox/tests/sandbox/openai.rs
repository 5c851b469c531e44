//! Source: OpenAI, *API reference*, create transcription (verbose JSON).

use std::{
    convert::Infallible,
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{
    Router,
    body::Bytes,
    extract::State,
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
    routing::post,
};
use futures_util::stream;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use valet_sandbox::OpenAi;

use crate::{
    harness::{PENDING, RUNNING, Stage},
    wave::{
        Part::{Silence, Sound},
        wav,
    },
};

/// What a server was asked.
#[derive(Clone, Debug, Default)]
struct Asked {
    authorization: Option<String>,
    /// All fields but the file.
    fields: Vec<(String, String)>,
    file: Bytes,
}

/// A server that speaks the API: it answers the same to all, and keeps what it was asked.
#[derive(Clone)]
struct Server {
    answer: (StatusCode, Arc<str>),
    asked: Arc<Mutex<Vec<Asked>>>,
    hangs: bool,
}

impl Server {
    fn new(status: u16, answer: &str) -> Self {
        let answer = (StatusCode::from_u16(status).unwrap(), answer.into());
        Self { answer, asked: Arc::default(), hangs: false }
    }

    async fn start(&self) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/v1", listener.local_addr().unwrap());
        let app = Router::new().route("/v1/audio/transcriptions", post(transcribe)).with_state(self.clone());
        tokio::spawn(axum::serve(listener, app).into_future());
        url
    }

    /// A stage whose words come from it.
    async fn stage(&self) -> Stage {
        let url = self.start().await.parse().unwrap();
        Stage::clocked(|settings, clock| {
            let openai = OpenAi::new(&url, Some("sk-canary".to_owned().into()), clock).unwrap();
            let openai = openai.with_model("large-v3").with_time(Duration::from_secs(20));
            settings.with_recogniser(Arc::new(openai))
        })
        .await
    }

    fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }
}

async fn transcribe(State(server): State<Server>, headers: HeaderMap, body: Bytes) -> Response {
    let text = |name: &str| headers.get(name).map(|value| value.to_str().unwrap().to_owned());
    let mut asked = Asked { authorization: text("authorization"), ..Asked::default() };
    let boundary = multer::parse_boundary(text("content-type").unwrap()).unwrap();
    let mut form = multer::Multipart::new(stream::iter([Ok::<_, Infallible>(body)]), boundary);
    while let Some(field) = form.next_field().await.unwrap() {
        match field.name().unwrap().to_owned() {
            name if name == "file" => asked.file = field.bytes().await.unwrap(),
            name => asked.fields.push((name, field.text().await.unwrap())),
        }
    }
    server.asked.lock().unwrap().push(asked);
    if server.hangs {
        std::future::pending::<()>().await;
    }
    (server.answer.0, server.answer.1.to_string()).into_response()
}

/// The shape of the documented sample.
fn heard() -> Value {
    json!({
        "task": "transcribe", "language": "english", "duration": 4.5, "text": "Good morning, Ann. You're late.",
        "segments": [
            { "id": 0, "seek": 0, "start": 0.4, "end": 1.6, "text": " Good morning, Ann.", "tokens": [1], "temperature": 0.0 },
            { "id": 1, "seek": 0, "start": 2.4, "end": 3.6, "text": " You're late.", "tokens": [2], "temperature": 0.0 },
        ],
        "words": [
            { "word": "Good", "start": 0.5, "end": 0.82 },
            { "word": "morning", "start": 0.82, "end": 1.2 },
            { "word": "Ann", "start": 1.24, "end": 1.5 },
            { "word": "You're", "start": 2.5, "end": 2.9 },
            { "word": "late", "start": 2.9, "end": 3.5 },
        ],
    })
}

fn talk(stage: &Stage) -> String {
    let parts = [Silence(500), Sound(1000), Silence(1000), Sound(1000), Silence(1000)];
    stage.origin.file("talk.wav", wav(8000, &[&parts]))
}

fn words(sentence: &Value) -> Vec<(u64, u64, &str, &str)> {
    let words = sentence["words"].as_array().unwrap().iter();
    let word = |word: &'_ Value| (word["begin_time"].as_u64().unwrap(), word["end_time"].as_u64().unwrap());
    words
        .map(|w| (word(w).0, word(w).1, w["text"].as_str().unwrap(), w["punctuation"].as_str().unwrap()))
        .collect()
}

#[tokio::test]
async fn words_and_times_are_the_servers_and_punctuation_stands_apart() {
    let server = Server::new(200, &heard().to_string());
    let stage = server.stage().await;
    let result = stage.transcript(talk(&stage), json!({})).await;
    let sentences = result["transcripts"][0]["sentences"].as_array().unwrap();
    assert_eq!(
        words(&sentences[0]),
        [(500, 820, "Good ", ""), (820, 1200, "morning", ", "), (1240, 1500, "Ann", ".")]
    );
    assert_eq!(words(&sentences[1]), [(2500, 2900, "You're ", ""), (2900, 3500, "late", ".")]);
    assert_eq!(result["transcripts"][0]["text"], "Good morning, Ann. You're late.");

    let asked = server.asked().remove(0);
    assert_eq!(asked.authorization.unwrap(), "Bearer sk-canary");
    let fields: Vec<_> = asked.fields.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let granularity = "timestamp_granularities[]";
    let expected = [("response_format", "verbose_json"), (granularity, "word"), (granularity, "segment")];
    assert_eq!((fields[0], &fields[1..]), (("model", "large-v3"), &expected[..]));
}

/// `channel_id`: each track is transcribed on its own.
#[tokio::test]
async fn each_channel_is_sent_on_its_own() {
    let server = Server::new(200, &heard().to_string());
    let stage = server.stage().await;
    let (left, right) = ([Sound(1000), Silence(1000)], [Silence(1000), Sound(1000)]);
    let url = stage.origin.file("both.wav", wav(8000, &[&left, &right]));
    stage.transcript(url, json!({ "channel_id": [1, 0] })).await;
    let sent: Vec<Bytes> = server.asked().into_iter().map(|asked| asked.file).collect();
    let alone = |parts| wav(8000, &[parts]);
    for (sent, alone) in sent.iter().zip([alone(&right[..]), alone(&left[..])]) {
        assert_eq!(sent[..44], alone[..44], "the head of a WAV file with one channel");
        let samples = |file: &Bytes| -> Vec<i16> {
            file[44..].as_chunks::<2>().0.iter().map(|sample| i16::from_le_bytes(*sample)).collect()
        };
        let (sent, alone) = (samples(sent), samples(&alone));
        assert!(sent.iter().zip(&alone).all(|(sent, alone)| sent.abs_diff(*alone) <= 1), "the same samples");
    }
    assert_eq!(sent.len(), 2);
}

/// `special_word_filter` and `diarization_enabled` act on whatever was heard.
#[tokio::test]
async fn filter_and_speakers_act_on_what_was_heard() {
    let stage = Server::new(200, &heard().to_string()).stage().await;
    let filter = json!({
        "filter_with_signed": { "word_list": ["Ann"] }, "filter_with_empty": { "word_list": ["late"] },
    });
    let parameters = json!({ "special_word_filter": filter.to_string(), "diarization_enabled": true });
    let result = stage.transcript(talk(&stage), parameters).await;
    let sentences = result["transcripts"][0]["sentences"].as_array().unwrap();
    assert_eq!(
        (&sentences[0]["text"], &sentences[0]["speaker_id"]),
        (&json!("Good morning, ***."), &json!(0))
    );
    assert_eq!((&sentences[1]["text"], &sentences[1]["speaker_id"]), (&json!("You're."), &json!(1)));
}

/// Servers differ: words in the segments, no words, or nothing but text.
#[tokio::test]
async fn less_than_the_documented_answer_is_made_do_with() {
    let mut nested = heard();
    nested["segments"][0]["words"] = json!([{ "word": " Good morning, Ann.", "start": 0.6, "end": 1.3 }]);
    nested["segments"][1]["words"] = json!([{ "word": " You're late.", "start": 2.6, "end": 3.3 }]);
    nested["words"].take();
    let mut without = heard();
    without["words"].take();
    let bare = json!({ "text": "Good morning, Ann. You're late." });
    for (answer, spans) in [
        (nested, [(600, 1300), (2600, 3300)]),
        (without, [(400, 1600), (2400, 3600)]),
        (bare, [(0, 2739), (2739, 4500)]),
    ] {
        let stage = Server::new(200, &answer.to_string()).stage().await;
        let result = stage.transcript(talk(&stage), json!({})).await;
        let sentences = result["transcripts"][0]["sentences"].as_array().unwrap();
        let span = |s: &Value| (s["begin_time"].as_u64().unwrap(), s["end_time"].as_u64().unwrap());
        assert_eq!(sentences.iter().map(span).collect::<Vec<_>>(), spans, "{answer}");
    }
}

#[tokio::test]
async fn what_the_server_fails_at_fails_the_subtask() {
    let mut backwards = heard();
    backwards["words"][0]["start"] = json!(-1.0);
    for (server, code) in [
        (Server::new(401, "sk-canary"), "Sandbox.RecogniserRefused"),
        (Server::new(500, ""), "Sandbox.RecogniserRefused"),
        (Server::new(307, ""), "Sandbox.RecogniserRefused"),
        (Server::new(200, "<html>"), "Sandbox.RecogniserAnswer"),
        (Server::new(200, &backwards.to_string()), "Sandbox.RecogniserAnswer"),
        (Server::new(200, &" ".repeat((32 << 20) + 1)), "Sandbox.RecogniserAnswer"),
        (Server::new(200, r#"{"text":""}"#), "ASR_RESPONSE_HAVE_NO_WORDS"),
    ] {
        let stage = server.stage().await;
        assert_eq!(stage.failure(talk(&stage), json!({})).await, code);
    }
}

#[tokio::test]
async fn a_server_that_does_not_answer_fails_the_subtask_in_time() {
    let server = Server { hangs: true, ..Server::new(200, "") };
    let stage = server.stage().await;
    let id = stage.task(&[talk(&stage)], json!({})).await;
    stage.clock.asleep("sandbox", 1).await;
    stage.clock.advance(PENDING);
    while server.asked().is_empty() {
        tokio::task::yield_now().await;
    }
    stage.clock.advance(Duration::from_secs(20));
    stage.handle.wait_for_work(1).await;
    stage.clock.advance(RUNNING);
    assert_eq!(stage.query(&id).await["output"]["code"], "Sandbox.RecogniserUnreachable");
}

#[tokio::test]
async fn a_key_is_sent_over_the_network_by_https_only() {
    let stage = Stage::new().await;
    let made = |url: &str, key: Option<&str>| {
        let key = key.map(|key| key.to_owned().into());
        OpenAi::new(&url.parse().unwrap(), key, stage.clock.handle("openai"))
    };
    for url in
        ["http://127.0.0.1:1/v1", "http://localhost/v1/", "http://[::1]/v1", "https://api.example.com/v1"]
    {
        assert!(made(url, Some("sk-1")).is_ok(), "{url}");
    }
    assert!(made("http://whisper.example.com/v1", None).is_ok());
    for (url, key) in
        [("http://whisper.example.com/v1", Some("sk-1")), ("ftp://h/v1", None), ("data:,x", None)]
    {
        let error = made(url, key).unwrap_err().to_string();
        assert!(error.starts_with("openai_url: "), "{error}");
    }
}
