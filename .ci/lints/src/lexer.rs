//! Rust source as identifiers and punctuation. Comments disappear.

/// A token with its line, counted from 1.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Token {
    /// The kind, with the text of an identifier.
    pub kind: Kind,
    /// The line of its first character.
    pub line: usize,
}

/// The kinds of tokens that the lint distinguishes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Kind {
    /// An identifier or a keyword.
    Ident(String),
    /// `::`.
    PathSep,
    /// One other character of punctuation.
    Punct(char),
    /// A literal or a lifetime, as it is written.
    Literal(String),
}

/// Splits the source into tokens.
#[must_use]
pub fn tokens(source: &str) -> Vec<Token> {
    let mut lexer = Lexer { rest: source, line: 1, tokens: Vec::new() };
    while lexer.step() {}
    lexer.tokens
}

struct Lexer<'a> {
    rest: &'a str,
    line: usize,
    tokens: Vec<Token>,
}

impl Lexer<'_> {
    /// Takes one token or one piece of white space. Returns false at the end.
    fn step(&mut self) -> bool {
        let Some(first) = self.rest.chars().next() else { return false };
        if self.rest.starts_with("//") {
            self.skip(self.rest.find('\n').unwrap_or(self.rest.len()));
        } else if self.rest.starts_with("/*") {
            self.skip(block_comment(self.rest));
        } else if first.is_whitespace() {
            self.skip(first.len_utf8());
        } else if let Some(length) = string(self.rest) {
            self.push_literal(length);
        } else if first == '\'' {
            self.push_literal(char_or_lifetime(self.rest));
        } else if is_ident(first) {
            let raw = if self.rest.starts_with("r#") { 2 } else { 0 };
            let length = self.rest[raw..].find(|c| !is_ident(c)).map_or(self.rest.len(), |length| raw + length);
            if first.is_ascii_digit() {
                self.push_literal(length);
            } else {
                self.push(Kind::Ident(self.rest[raw..length].to_owned()), length);
            }
        } else if self.rest.starts_with("::") {
            self.push(Kind::PathSep, 2);
        } else {
            self.push(Kind::Punct(first), first.len_utf8());
        }
        true
    }

    fn push(&mut self, kind: Kind, length: usize) {
        self.tokens.push(Token { kind, line: self.line });
        self.skip(length);
    }

    fn push_literal(&mut self, length: usize) {
        self.push(Kind::Literal(self.rest[..length].to_owned()), length);
    }

    fn skip(&mut self, length: usize) {
        let (skipped, rest) = self.rest.split_at(length);
        self.line += skipped.matches('\n').count();
        self.rest = rest;
    }
}

fn is_ident(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// The length of a block comment, which may contain others.
fn block_comment(text: &str) -> usize {
    let (mut at, mut depth) = (0, 0);
    while at < text.len() {
        let step = match &text[at..] {
            rest if rest.starts_with("/*") => {
                depth += 1;
                2
            }
            rest if rest.starts_with("*/") => {
                depth -= 1;
                2
            }
            rest => rest.chars().next().map_or(1, char::len_utf8),
        };
        at += step;
        if depth == 0 {
            break;
        }
    }
    at
}

/// The length of a string of any kind: plain, byte, C, raw.
fn string(text: &str) -> Option<usize> {
    let prefix = text.find(|c| !matches!(c, 'b' | 'c' | 'r')).filter(|length| *length <= 2)?;
    let is_raw = text[..prefix].contains('r');
    let hashes = if is_raw { text[prefix..].find(|c| c != '#')? } else { 0 };
    let begin = prefix + hashes;
    if !text[begin..].starts_with('"') {
        return None;
    }
    if is_raw {
        let end = format!("\"{}", "#".repeat(hashes));
        let length = text[begin + 1..].find(&end).map_or(text.len(), |at| begin + 1 + at + end.len());
        return Some(length);
    }
    let mut is_escaped = false;
    for (at, c) in text[begin + 1..].char_indices() {
        match c {
            _ if is_escaped => is_escaped = false,
            '\\' => is_escaped = true,
            '"' => return Some(begin + 1 + at + 1),
            _ => {}
        }
    }
    Some(text.len())
}

/// The length of `'x'`, `'\n'` or `'lifetime`.
fn char_or_lifetime(text: &str) -> usize {
    let mut chars = text.char_indices().skip(1);
    match (chars.next(), chars.next()) {
        // After the backslash and the character behind it.
        (Some((_, '\\')), Some(_)) => chars.find(|(_, c)| *c == '\'').map_or(text.len(), |(at, _)| at + 1),
        (Some(_), Some((at, '\''))) => at + 1,
        _ => 1 + text[1..].find(|c| !is_ident(c)).unwrap_or(text.len() - 1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(source: &str) -> String {
        let show = |token: &Token| match &token.kind {
            Kind::Ident(word) => word.clone(),
            Kind::PathSep => "::".to_owned(),
            Kind::Punct(c) => c.to_string(),
            Kind::Literal(_) => "_".to_owned(),
        };
        tokens(source).iter().map(show).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn comments_and_literals_hide_their_contents() {
        for (source, expected) in [
            ("a // use b;\n:: c", "a :: c"),
            ("a /* x /* y */ z */ b", "a b"),
            (r#"f("use crate::x; \" y", b"z")"#, "f ( _ , _ )"),
            ("r\"\\\" a", "_ a"),
            ("r#\"a \" b\"# c", "_ c"),
            ("'a' '\\'' '\\u{1F}' 'static b", "_ _ _ _ b"),
            ("&'a T", "& _ T"),
            ("r#type x1 1u8 0.5", "type x1 _ _ . _"),
            ("brr cb\"x\" b'x'", "brr _ b _"),
        ] {
            assert_eq!(shown(source), expected, "{source}");
        }
    }

    #[test]
    fn lines_are_counted_through_comments_and_strings() {
        let lines: Vec<usize> = tokens("a\n/*\n*/ b \"\n\" c\nd").iter().map(|token| token.line).collect();
        assert_eq!(lines, [1, 3, 3, 4, 5]);
    }
}
