//! Times and dates, by universal time.

use jiff::Timestamp;

/// The present time, as in `2026-01-31T12:00:00Z`.
#[must_use]
pub fn now() -> String {
    Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// The present date, as in `2026-01-31`.
#[must_use]
pub fn today() -> String {
    Timestamp::now().strftime("%Y-%m-%d").to_string()
}

/// The date and the minute of a time in the form of records, as in `2026-01-31` and `12:00`. None if it is no time.
pub(crate) fn date_and_minute(time: &str) -> Option<(String, String)> {
    let time: Timestamp = time.parse().ok()?;
    Some((time.strftime("%Y-%m-%d").to_string(), time.strftime("%H:%M").to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_the_form_of_records() {
        let now = now();
        let read: Timestamp = now.parse().unwrap();
        let age = Timestamp::now().duration_since(read);
        assert!(now.len() == "2026-01-31T12:00:00Z".len() && now.ends_with('Z'), "{now}");
        assert!(!age.is_negative() && age.as_secs() < 3600, "{now}");
        let parts = |date: &str, minute: &str| Some((date.to_owned(), minute.to_owned()));
        assert_eq!(date_and_minute("2026-01-31T12:05:59Z"), parts("2026-01-31", "12:05"));
        assert_eq!((date_and_minute(""), date_and_minute("noon")), (None, None));
        assert!(now.starts_with(&today()) || today() > now, "midnight may lie between the two");
    }
}
