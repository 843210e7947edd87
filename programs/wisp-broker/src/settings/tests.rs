use super::*;

fn set(setting: &Setting, text: &str) -> Result<String, String> {
    let mut settings = Settings::default();
    setting.set(&mut settings, &[text.to_owned()]).map(|()| setting.show(&settings))
}

#[test]
fn both_ends_of_each_range_are_kept_and_their_neighbours_refused() {
    for setting in SETTINGS.iter() {
        let Kind::Number(Limit { range, .. }) = &setting.kind else { continue };
        for inside in [range.start(), range.end()] {
            assert_eq!(set(setting, &inside.to_string()), Ok(inside.to_string()), "{}", setting.name);
        }
        for outside in [i128::from(*range.start()) - 1, i128::from(*range.end()) + 1] {
            let error = set(setting, &outside.to_string()).unwrap_err();
            assert_eq!(error, format!("not a number from {} to {}", range.start(), range.end()), "{}", setting.name);
        }
    }
}

#[test]
fn each_setting_has_a_place_of_its_own() {
    let default = Settings::default();
    for setting in SETTINGS.iter() {
        let other = match &setting.kind {
            Kind::Addresses => "[::1]:7".to_owned(),
            Kind::Workers => "7".to_owned(),
            Kind::Word { words, .. } => words[words.len() - 1].to_owned(),
            Kind::Text { .. } => "seven".to_owned(),
            Kind::Address { .. } => "[::1]:7".to_owned(),
            Kind::Truth { .. } => "true".to_owned(),
            Kind::Sync { .. } => "20 ms".to_owned(),
            Kind::Count { range, .. } => (range.start() + 7).to_string(),
            Kind::Number(limit) => (limit.range.start() + 7).to_string(),
        };
        let mut settings = default.clone();
        setting.set(&mut settings, &[other]).unwrap();
        for one in SETTINGS.iter() {
            let changed = one.show(&settings) != one.show(&default);
            // The default of the one depends on the other.
            let depends = (setting.name, one.name) == ("stall-policy", "stall-ms-max");
            assert_eq!(
                changed,
                one.name == setting.name || depends,
                "setting {} and looking at {}",
                setting.name,
                one.name
            );
        }
    }
}

#[test]
fn a_text_is_kept_as_it_is_and_shown_as_toml() {
    for setting in SETTINGS.iter().filter(|setting| matches!(setting.kind, Kind::Text { .. })) {
        assert_eq!(set(setting, ""), Ok("\"\"".to_owned()));
        assert_eq!(set(setting, "a\"b\\c\n\u{7f}\u{85}ü"), Ok(r#""a\"b\\c\u000A\u007F\u0085ü""#.to_owned()));
        assert!(set(setting, &"x".repeat(65_535)).is_ok());
        assert!(set(setting, &"x".repeat(65_536)).is_err());
        assert!(set(setting, "a\0b").is_err());
    }
}

#[test]
fn an_address_is_one_of_this_machine_unless_it_says_otherwise() {
    for (text, shown) in [("7", "127.0.0.1:7"), ("[::]:7", "[::]:7"), ("10.0.0.1:7", "10.0.0.1:7"), ("", "")] {
        assert_eq!(set(&ADMIN, text), Ok(format!("\"{shown}\"")));
    }
    for wrong in ["x", "localhost:7", "70000", "1.2.3.4", ":7"] {
        assert!(set(&ADMIN, wrong).is_err(), "{wrong}");
    }
}

#[test]
fn each_word_is_kept() {
    for setting in SETTINGS.iter() {
        let Kind::Word { words, .. } = &setting.kind else { continue };
        for word in *words {
            assert_eq!(set(setting, word), Ok(format!("\"{word}\"")));
        }
        assert!(set(setting, "wait").is_err());
    }
}
