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
        assert!(now.starts_with(&today()) || today() > now, "midnight may lie between the two");
    }
}
