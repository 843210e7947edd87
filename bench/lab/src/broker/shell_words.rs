//! A command line as a person types it, taken apart without a shell: so the process that is started is the program itself.

use std::net::SocketAddr;

/// Stands for the port to listen on.
pub(super) const PORT: &str = "{port}";
/// Stands for the address to listen on, with the port.
pub(super) const ADDRESS: &str = "{address}";

/// The words of a command line. Quotes of both kinds and backslashes work as in a shell; nothing else is special.
///
/// # Errors
/// When a quote is not closed, or nothing follows a backslash.
pub(super) fn split(line: &str) -> Result<Vec<String>, String> {
    let mut words = Vec::new();
    // None between words: `''` is a word, though it is empty.
    let mut word: Option<String> = None;
    let mut characters = line.chars();
    while let Some(character) = characters.next() {
        match character {
            ' ' | '\t' | '\n' => words.extend(word.take()),
            '\'' => {
                let word = word.get_or_insert_default();
                loop {
                    match characters.next() {
                        Some('\'') => break,
                        Some(inner) => word.push(inner),
                        None => return Err(unclosed('\'', line)),
                    }
                }
            }
            '"' => quoted(&mut characters, word.get_or_insert_default()).ok_or_else(|| unclosed('"', line))?,
            '\\' => {
                let escaped = characters.next().ok_or_else(|| format!("nothing follows the last \\ in: {line}"))?;
                word.get_or_insert_default().push(escaped);
            }
            other => word.get_or_insert_default().push(other),
        }
    }
    words.extend(word);
    Ok(words)
}

/// What stands between double quotes, in which a backslash is special before a quote or another backslash only. None if
/// they are not closed.
fn quoted(characters: &mut std::str::Chars<'_>, word: &mut String) -> Option<()> {
    loop {
        match characters.next()? {
            '"' => return Some(()),
            '\\' => match characters.next()? {
                escaped @ ('"' | '\\') => word.push(escaped),
                other => word.extend(['\\', other]),
            },
            other => word.push(other),
        }
    }
}

fn unclosed(quote: char, line: &str) -> String {
    format!("a {quote} is not closed in: {line}")
}

/// A word with the address in it, where it asks for that.
pub(super) fn with_address(word: &str, address: SocketAddr) -> String {
    word.replace(PORT, &address.port().to_string()).replace(ADDRESS, &address.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_split_as_a_shell_does() {
        for (line, words) in [
            ("", &[][..]),
            ("  \t ", &[]),
            ("broker", &["broker"]),
            (" a  b\tc\n", &["a", "b", "c"]),
            ("a 'b c' d", &["a", "b c", "d"]),
            ("a \"b 'c'\" d", &["a", "b 'c'", "d"]),
            (r#"a "b \" \\ \n" d"#, &["a", r#"b " \ \n"#, "d"]),
            (r"a b\ c '\'", &["a", "b c", r"\"]),
            ("a''b '' \"\"", &["ab", "", ""]),
            ("--flag='x y'z", &["--flag=x yz"]),
            ("a $HOME ; b | c > d", &["a", "$HOME", ";", "b", "|", "c", ">", "d"]),
        ] {
            assert_eq!(split(line).unwrap(), words, "{line:?}");
        }
    }

    #[test]
    fn what_is_not_closed_is_refused() {
        for (line, part) in [("a 'b", "a ' is not closed"), ("a \"b\\\"", "a \" is not closed"), ("a \\", "nothing")] {
            let error = split(line).unwrap_err();
            assert!(error.contains(part) && error.contains(line), "{error}");
        }
    }

    #[test]
    fn the_address_comes_where_it_is_asked_for() {
        let address = SocketAddr::from(([127, 0, 0, 1], 4711));
        for (word, expected) in [
            ("{port}", "4711"),
            ("tcp://{address}/{port}", "tcp://127.0.0.1:4711/4711"),
            ("{ports}", "{ports}"),
            ("port", "port"),
        ] {
            assert_eq!(with_address(word, address), expected);
        }
    }
}
