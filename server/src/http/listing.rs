//! Which of a caller's tasks a list is of, and paths of tasks as the vendor's SDK writes them. Knows no task.

use std::time::Duration;

use http::Uri;
use jiff::{civil::DateTime, tz};

use crate::{issue::Unreadable, relay::Page};

/// A path of tasks as the documentation has it, if it is written as the vendor's Python SDK (2.0) writes it: the list
/// without a slash behind (`client/base_api.py`), and in its asynchronous class all else with one
/// (`api_entities/api_request_factory.py`).
pub(super) fn straightened(uri: &Uri) -> Option<Uri> {
    let rest = uri.path().strip_prefix("/api/v1/tasks")?;
    let path = match rest.strip_prefix('/') {
        None if rest.is_empty() => "/api/v1/tasks/",
        Some(name) if name.len() > 1 => uri.path().strip_suffix('/')?,
        _ => return None,
    };
    let query = uri.query().map_or_else(String::new, |query| format!("?{query}"));
    format!("{path}{query}").parse().ok()
}

const NO_PARAMETER: &str =
    "is not a parameter here: page_no, page_size, task_id, status, model_name, start_time, end_time";

/// A time as `start_time` has it (*Manage asynchronous tasks*): it names no zone, and the service stands in Beijing.
fn stamp(text: &str) -> Option<Duration> {
    let is_compact = text.len() == 14 && text.bytes().all(|byte| byte.is_ascii_digit());
    let civil = is_compact.then(|| DateTime::strptime("%Y%m%d%H%M%S", text).ok())??;
    tz::offset(8).to_timestamp(civil).ok()?.as_duration().try_into().ok()
}

/// The page of a list (*Manage asynchronous tasks*).
pub(super) fn page(query: &str) -> Result<Page, Unreadable> {
    let wrong = |field: &str, problem: &str| Unreadable::Field {
        field: field.chars().filter(|c| !c.is_control()).take(64).collect(),
        problem: problem.to_owned(),
    };
    let mut page = Page::default();
    for (name, value) in form_urlencoded::parse(query.as_bytes()) {
        let number = || value.parse().ok().filter(|number| (1..=100_000).contains(number));
        let number = || number().ok_or_else(|| wrong(&name, "must be a whole number from 1 on"));
        let time = || stamp(&value).ok_or_else(|| wrong(&name, "must be a time of Beijing, YYYYMMDDhhmmss"));
        match &*name {
            "page_no" => page.number = Some(number()?),
            "page_size" => page.size = Some(number()?),
            "task_id" => page.handle = Some(value.into_owned()),
            "status" => page.status = Some(value.into_owned()),
            "model_name" => page.model = Some(value.into_owned()),
            "start_time" => page.from = Some(time()?),
            "end_time" => page.to = Some(time()?),
            _ => return Err(wrong(&name, NO_PARAMETER)),
        }
    }
    Ok(page)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slash_behind_makes_no_difference_to_a_path_of_tasks() {
        let straight = |text: &str| straightened(&text.parse().unwrap()).map(|uri| uri.to_string());
        for (written, documented) in [
            ("/api/v1/tasks", "/api/v1/tasks/"),
            ("/api/v1/tasks?page_no=1", "/api/v1/tasks/?page_no=1"),
            ("/api/v1/tasks/a/", "/api/v1/tasks/a"),
            ("/api/v1/tasks/a/cancel/?x=1", "/api/v1/tasks/a/cancel?x=1"),
        ] {
            assert_eq!(straight(written).as_deref(), Some(documented));
            assert_eq!(straight(documented), None, "it is as documented");
        }
        for other in ["/api/v1/tasksandmore/", "/api/v1/tasks//", "/api/v1/results/a/", "/"] {
            assert_eq!(straight(other), None, "{other}");
        }
    }

    #[test]
    fn a_page_is_of_whole_numbers_and_of_times_in_beijing() {
        let read = page("page_no=2&start_time=20240912151140&end_time=20240912151141&task_id=a").unwrap();
        let from = Duration::from_secs(1_726_125_100);
        assert_eq!((read.from, read.to), (Some(from), Some(from + Duration::from_secs(1))));
        assert_eq!((read.number, read.handle.as_deref()), (Some(2), Some("a")));
        for wrong in ["start_time=2024", "end_time=20241332000000", "page_no=0", "region=cn-beijing"] {
            assert!(page(wrong).is_err(), "{wrong}");
        }
    }
}
