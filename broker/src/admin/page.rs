//! An answer to a request.

const TEXT: &str = "text/plain; charset=utf-8";

/// A page, or the refusal of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Page {
    /// Code and phrase.
    pub(crate) status: &'static str,
    pub(crate) content_type: &'static str,
    /// Further lines of the head, each with its end.
    pub(crate) headers: &'static str,
    pub(crate) body: String,
}

impl Page {
    pub(crate) fn new(status: &'static str, content_type: &'static str, body: String) -> Self {
        Self { status, content_type, headers: "", body }
    }

    /// A page of one line.
    pub(crate) fn line(status: &'static str, line: &str) -> Self {
        Self::new(status, TEXT, format!("{line}\n"))
    }

    /// The same with further lines in the head.
    #[must_use]
    pub(crate) fn with(self, headers: &'static str) -> Self {
        Self { headers, ..self }
    }
}
