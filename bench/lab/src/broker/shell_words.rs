//! A command line as a person types it, taken apart without a shell: so the process that is started is the program itself.

use std::net::SocketAddr;

/// Stands for the port to listen on.
pub(super) const PORT: &str = "{port}";
/// Stands for the address to listen on, with the port.
pub(super) const ADDRESS: &str = "{address}";

/// A command line that no shell would take: a quote is not closed, or nothing follows a backslash.
#[derive(thiserror::Error, Clone, PartialEq, Eq, Debug)]
#[error("a quote is not closed, or nothing follows the last \\ in: {0}")]
pub struct InvalidWords(String);

/// The words of a command line, with quotes and backslashes as in a shell. Variables and operators have no meaning.
///
/// # Errors
/// If a quote is not closed, or nothing follows a backslash.
pub(super) fn split(line: &str) -> Result<Vec<String>, InvalidWords> {
    shlex::split(line).ok_or_else(|| InvalidWords(line.to_owned()))
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
            ("  \t ", &[][..]),
            (" a  b\tc\n", &["a", "b", "c"]),
            ("a \"b 'c'\" ''", &["a", "b 'c'", ""]),
            ("--flag='x y'z", &["--flag=x yz"]),
            ("a $HOME ; b | c > d", &["a", "$HOME", ";", "b", "|", "c", ">", "d"]),
        ] {
            assert_eq!(split(line).unwrap(), words, "{line:?}");
        }
        for line in ["a 'b", "a \"b\\\"", "a \\"] {
            assert!(split(line).unwrap_err().to_string().ends_with(line), "{line}");
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
