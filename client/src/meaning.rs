//! What the service's codes mean, and what to do about each.
//!
//! Source: *Error messages* and *Fun-ASR recording*, put into words for whoever reads an error.

/// What a code means, and what to do about it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Meaning {
    pub(crate) meaning: &'static str,
    pub(crate) remedy: &'static str,
}

/// What `code` means, if it is documented.
pub(crate) fn of(code: &str) -> Option<Meaning> {
    // The one code that is spelled in two ways.
    let code = if code.eq_ignore_ascii_case("invalid_api_key") { "InvalidApiKey" } else { code };
    let (_, meaning, remedy) = CODES.iter().find(|(codes, ..)| codes.contains(&code))?;
    Some(Meaning { meaning, remedy })
}

/// Codes, their meaning, their remedy.
const CODES: &[(&[&str], &str, &str)] = &[
    (
        &["InvalidParameter", "BadRequest.EmptyInput", "BadRequest.EmptyModel", "BadRequest.EmptyParameters"],
        "A parameter of the request is missing or wrong.",
        "Correct the parameter that the message names; nothing was billed.",
    ),
    (
        &["InvalidURL"],
        "A URL in the request is not one that the service takes.",
        "Give an http or https URL, percent-encoded, that opens without a login.",
    ),
    (
        &["InvalidURL.ConnectionRefused", "InvalidURL.Timeout"],
        "The service could not connect to the host of the URL.",
        "Check that the host is reachable from the public internet, also from the service's region.",
    ),
    (
        &["DataInspectionFailed"],
        "The service's content inspection rejected the input or the output.",
        "Remove what is objectionable; sending the same again gives the same answer.",
    ),
    (
        &["UnsupportedOperation"],
        "The task is not in a state that allows this.",
        "Only a task that is PENDING can be canceled; wait for this one to end.",
    ),
    (
        &["Arrearage"],
        "The account is in arrears.",
        "The account's owner must settle the bill in the console.",
    ),
    (
        &["InvalidApiKey"],
        "The key or token is wrong, has expired, or belongs to another region.",
        "Check that key and base URL are of the same region; a token must be renewed before its end.",
    ),
    (
        &["AccessDenied", "AccessDenied.Unpurchased", "Model.AccessDenied", "Workspace.AccessDenied"],
        "The account, workspace or key may not use this model or call.",
        "Activate the service and give the key's workspace access to the model, in the console.",
    ),
    (
        &["AllocationQuota.FreeTierOnly"],
        "The free quota is used up, and the account is set to use nothing else.",
        "Switch off \"free tier only\" in the console, or wait for a new quota.",
    ),
    (
        &["ModelNotFound", "WorkSpaceNotFound", "NotFound"],
        "The model, workspace or address does not exist here.",
        "Check the name of the model, the workspace, and that the base URL is of the right region.",
    ),
    (
        &["Throttling", "Throttling.RateQuota", "Throttling.BurstRate"],
        "The account makes more requests than it may.",
        "Wait, then send fewer at a time; all keys of the account count together.",
    ),
    (
        &["Throttling.AllocationQuota"],
        "The account has used up what it is allotted.",
        "Wait for the next period, or ask for a larger quota in the console.",
    ),
    (
        &["CommodityNotPurchased", "PrepaidBillOverdue", "PostpaidBillOverdue"],
        "The service is not bought, or a bill is overdue.",
        "The account's owner must buy the service or settle the bill in the console.",
    ),
    (
        &["InternalError", "InternalError.Algo", "SystemError", "ModelServingError", "ModelUnavailable"],
        "The service has a fault of its own.",
        "Try again later; if it lasts, report the request id to the vendor.",
    ),
    (
        &["InternalError.Timeout", "RequestTimeOut"],
        "The service did not finish in time.",
        "Try again later, with fewer or shorter recordings at a time.",
    ),
    (
        &["InvalidFile.DownloadFailed", "FILE_DOWNLOAD_FAILED"],
        "The service could not download the recording.",
        "Check that the URL opens without a login from the public internet, and is percent-encoded.",
    ),
    (
        &["FILE_404_NOT_FOUND"],
        "There is no recording at the URL.",
        "Check the URL; a signed one may have expired.",
    ),
    (
        &["FILE_403_FORBIDDEN"],
        "The recording's host refuses to give it out.",
        "Make it readable, or sign the URL for long enough that the service can fetch it.",
    ),
    (
        &["FILE_SERVER_ERROR"],
        "The recording's host answered with an error.",
        "Try again when the host is well.",
    ),
    (
        &["CONTENT_LENGTH_CHECK_FAILED"],
        "The recording's host sent another length than it announced.",
        "Put the file on a host that sends it whole and unchanged.",
    ),
    (
        &["REQUEST_INVALID_FILE_URL_VALUE"],
        "The URL of the recording is malformed.",
        "Give an http or https URL, percent-encoded.",
    ),
    (
        &["FILE_TOO_LARGE", "AUDIO_DURATION_TOO_LONG"],
        "The recording is larger than 2 GB or longer than 12 hours.",
        "Split it, or encode it at a lower rate.",
    ),
    (
        &[
            "FILE_CHECK_FAILED",
            "FILE_NORMALIZE_FAILED",
            "FILE_PARSE_FAILED",
            "MKV_PARSE_FAILED",
            "DECODE_ERROR",
        ],
        "The recording cannot be decoded.",
        "Check that it plays, and convert it to a common format, such as 16 kHz mono wav or mp3.",
    ),
    (
        &["NO_VALID_AUDIO_ERROR"],
        "There is no audio in the file.",
        "Check that the file has an audio track, and that the channel asked for exists.",
    ),
    (
        &["SUCCESS_WITH_NO_VALID_FRAGMENT", "ASR_RESPONSE_HAVE_NO_WORDS"],
        "There is no speech in the recording.",
        "Nothing to do: its transcript is empty.",
    ),
    (&["FILE_TRANS_TASK_EXPIRED"], "The task took too long and was given up.", "Submit the recording again."),
];

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn each_code_has_one_meaning_and_a_remedy_in_whole_sentences() {
        let mut seen = HashSet::new();
        for (codes, meaning, remedy) in CODES {
            assert!(codes.iter().all(|code| seen.insert(code)), "{codes:?}");
            assert!(meaning.ends_with('.') && remedy.ends_with('.'), "{codes:?}");
        }
    }

    #[test]
    fn both_spellings_of_a_refused_key_are_known_and_others_are_not_made_up() {
        assert!(of("InvalidApiKey").is_some() && of("invalid_api_key") == of("InvalidApiKey"));
        assert_eq!((of(""), of("Newer.Code")), (None, None));
    }
}
