//! Mistakes in the configuration, shown with their place in the source.

use std::fmt;
use std::io::IsTerminal;
use std::ops::Range;
use std::sync::Arc;

use miette::{GraphicalReportHandler, GraphicalTheme, LabeledSpan, NamedSource, SourceCode};

use super::overrides::{ENVIRONMENT, SET};

/// A place in a file, an environment variable or an option of the command line.
#[derive(Clone, Debug)]
pub struct Place {
    /// File name, or "environment", or "command line".
    pub source: String,
    pub text: Arc<str>,
    /// Bytes of `text`.
    pub span: Range<usize>,
    /// Which layer it is: "the experiment file", "--set" ...
    pub layer: String,
}

impl Place {
    /// `file:line:column`; a variable or an option is named by its text.
    pub fn position(&self) -> String {
        if [ENVIRONMENT, SET].contains(&self.layer.as_str()) {
            return self.text.to_string();
        }
        let before = &self.text[..self.span.start.min(self.text.len())];
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().map_or(0, |last| last.chars().count()) + 1;
        format!("{}:{line}:{column}", self.source)
    }
}

/// One mistake.
#[derive(Clone, Debug)]
pub struct Diagnostic {
    pub message: String,
    pub help: Option<String>,
    pub key: String,
    pub place: Option<Place>,
}

/// Everything wrong with an experiment, found in one pass.
#[derive(Clone, Debug, Default)]
pub struct Diagnostics {
    /// The experiment file, for the last line; may be empty.
    pub file: String,
    pub list: Vec<Diagnostic>,
}

impl Diagnostics {
    pub fn new(file: impl Into<String>) -> Self {
        Diagnostics { file: file.into(), list: Vec::new() }
    }

    pub fn push(&mut self, diagnostic: Diagnostic) {
        self.list.push(diagnostic);
    }

    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// `Err` if anything was found.
    pub fn into_result(self) -> crate::Result<()> {
        if self.is_empty() { Ok(()) } else { Err(self.into()) }
    }

    /// All mistakes, then a line that counts them.
    pub fn render(&self, colour: bool) -> String {
        let theme = if colour { GraphicalTheme::unicode() } else { GraphicalTheme::none() };
        let handler = GraphicalReportHandler::new_themed(theme).with_width(100).with_links(false);
        let mut out = String::new();
        for diagnostic in &self.list {
            let report = Report::new(diagnostic);
            if handler.render_report(&mut out, &report).is_err() {
                out.push_str(&diagnostic.message);
            }
            out.push('\n');
        }
        let count = match self.list.len() {
            1 => "1 error".to_string(),
            n => format!("{n} errors"),
        };
        out.push_str(&count);
        if !self.file.is_empty() {
            out.push_str(&format!(" in {}", self.file));
        }
        out
    }
}

impl fmt::Display for Diagnostics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let no_colour = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        f.write_str(&self.render(std::io::stderr().is_terminal() && !no_colour))
    }
}

impl std::error::Error for Diagnostics {}

impl From<Diagnostic> for crate::Error {
    fn from(diagnostic: Diagnostic) -> Self {
        Diagnostics { file: String::new(), list: vec![diagnostic] }.into()
    }
}

/// A diagnostic as miette draws it.
#[derive(Debug)]
struct Report<'a> {
    diagnostic: &'a Diagnostic,
    source: Option<NamedSource<Arc<str>>>,
}

impl<'a> Report<'a> {
    fn new(diagnostic: &'a Diagnostic) -> Self {
        let source = diagnostic.place.as_ref();
        let source = source.map(|place| NamedSource::new(&place.source, place.text.clone()));
        Report { diagnostic, source }
    }
}

impl fmt::Display for Report<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.diagnostic.message)
    }
}

impl std::error::Error for Report<'_> {}

impl miette::Diagnostic for Report<'_> {
    fn severity(&self) -> Option<miette::Severity> {
        Some(miette::Severity::Error)
    }

    fn help<'b>(&'b self) -> Option<Box<dyn fmt::Display + 'b>> {
        self.diagnostic.help.as_ref().map(|help| Box::new(help) as Box<dyn fmt::Display>)
    }

    fn source_code(&self) -> Option<&dyn SourceCode> {
        self.source.as_ref().map(|source| source as &dyn SourceCode)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        let place = self.diagnostic.place.as_ref()?;
        let label = format!("from {}", place.layer);
        Some(Box::new(std::iter::once(LabeledSpan::new_with_span(Some(label), place.span.clone()))))
    }
}
