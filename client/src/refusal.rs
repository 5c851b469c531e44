//! What an answer that is not the wanted one means to a caller (*Error messages*).

use serde::Deserialize;

use crate::{
    Error, Kind, Token,
    http::{Answer, NoAnswer},
};

/// The documented error body.
#[derive(Default, Deserialize)]
#[serde(default)]
struct ErrorBody {
    code: Option<String>,
    message: Option<String>,
    request_id: Option<String>,
}

pub(crate) fn malformed(what: &str) -> Error {
    Error::new(Kind::Malformed, format!("the service {what}"))
}

pub(crate) fn no_answer(why: NoAnswer) -> Error {
    match why {
        NoAnswer::Unsendable(why) => unsendable(&why),
        NoAnswer::NotSent(why) => {
            Error::new(Kind::Unreachable, format!("the service cannot be reached: {why}"))
        }
        NoAnswer::Lost(why) => Error::new(Kind::Lost, format!("the connection to the service broke: {why}")),
        NoAnswer::TooSlow => Error::new(Kind::Lost, "the service did not answer in time"),
        NoAnswer::TooLarge => malformed("answered more than an answer may hold"),
    }
}

/// What it was made of cannot be sent, and will not be the next time either.
pub(crate) fn unsendable(why: &str) -> Error {
    let advice = "check the base URL, and the key or token for a line end";
    Error::new(Kind::Configuration, format!("no request can be made ({why}): {advice}"))
}

/// Whether a submit that ended with this error may have arrived: unless it was refused, nobody knows.
pub(crate) fn is_doubtful(error: &Error) -> bool {
    match error.kind() {
        Kind::Lost | Kind::Malformed => true,
        Kind::Unavailable => error.status() != Some(503),
        _ => false,
    }
}

/// What an error means of a submit that is not sent again.
pub(crate) fn doubtful(error: Error) -> Error {
    if is_doubtful(&error) { ambiguous(&error) } else { error }
}

/// A submit may have arrived, and this is how its last try ended.
pub(crate) fn ambiguous(error: &Error) -> Error {
    let message = format!(
        "the task may or may not have been submitted ({error}); submitted anew it would be billed twice: look for \
         it in the list of tasks first"
    );
    let id = error.request_id().map(str::to_owned);
    Error::answered(Kind::Ambiguous, message, error.status().unwrap_or(0), None, id, None)
}

/// What a refusal of a call with this token means (*Error messages*).
pub(crate) fn refusal(answer: Answer, token: Option<&Token>) -> Error {
    let body: ErrorBody = serde_json::from_slice(&answer.body).unwrap_or_default();
    // A service that repeats the token does not get it into our errors.
    let redacted = |text: String| match token.map(Token::expose) {
        Some(secret) if !secret.is_empty() => text.replace(secret, "[token]"),
        _ => text,
    };
    let code = body.code.map(redacted).unwrap_or_default();
    let kind = match (answer.status, code.as_str()) {
        (401, _) => Kind::Credentials,
        // A relay's, of a submit that it lost sight of.
        (_, "SubmitOutcomeUnknown") => Kind::Ambiguous,
        // Documented with 429, and waiting does not help.
        (
            429,
            "Throttling.AllocationQuota"
            | "CommodityNotPurchased"
            | "PrepaidBillOverdue"
            | "PostpaidBillOverdue",
        ) => Kind::Refused,
        (429, _) => Kind::Throttled,
        // 408: the request was not received in time (RFC 9110 §15.5.9), and may be sent again.
        (408 | 500.., _) => Kind::Unavailable,
        _ => Kind::Refused,
    };
    let said = body.message.filter(|message| !message.is_empty()).map(redacted);
    let said = said.unwrap_or_else(|| format!("status {}, no reason given", answer.status));
    let message = match kind {
        Kind::Credentials => format!("the service does not accept the token: {said}"),
        Kind::Throttled => format!("the service asks for fewer requests: {said}"),
        Kind::Unavailable => format!("the service has a fault: {said}"),
        Kind::Ambiguous => format!(
            "the task may or may not have been submitted, and was not sent again, since it would be billed \
             twice ({said}): look for it in the list of tasks first"
        ),
        _ => format!("the service refuses: {said}"),
    };
    let code = (!code.is_empty()).then_some(code);
    Error::answered(
        kind,
        message,
        answer.status,
        code,
        body.request_id.or(answer.request_id).map(redacted),
        answer.retry_after,
    )
}
