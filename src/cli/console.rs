//! What the verbs print, ask and show while they work.

use std::io::{BufRead, IsTerminal, Write};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Serialize;

use crate::config::Environment;
use crate::error::{Error, Result};

/// How much is printed besides the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Chatter {
    /// What was done.
    Normal,
    /// Nothing.
    Quiet,
}

/// The form of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// Columns for people.
    Text,
    /// JSON.
    Json,
}

/// Which ends are a person's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Terminals {
    /// Somebody can answer a question.
    pub(super) input: bool,
    /// Somebody sees progress.
    pub(super) error: bool,
}

/// Standard output and error of a verb.
pub(super) struct Console {
    out: Box<dyn Write + Send>,
    err: Box<dyn Write + Send>,
    pub(super) chatter: Chatter,
    pub(super) form: Form,
    terminals: Terminals,
    closed: bool,
}

impl std::fmt::Debug for Console {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Console").field("form", &self.form).finish_non_exhaustive()
    }
}

impl Console {
    /// The process's own.
    pub(super) fn standard(environment: &Environment) -> Self {
        let dumb = environment.get("TERM") == Some("dumb");
        let error = std::io::stderr().is_terminal() && !dumb;
        let input = std::io::stdin().is_terminal() && std::io::stderr().is_terminal();
        // NO_COLOR is kept by printing no colour anywhere.
        Self::new(
            Box::new(std::io::stdout()),
            Box::new(std::io::stderr()),
            Terminals { input, error },
        )
    }

    /// Over any two writers.
    pub(super) fn new(
        out: Box<dyn Write + Send>,
        err: Box<dyn Write + Send>,
        terminals: Terminals,
    ) -> Self {
        Self { out, err, chatter: Chatter::Normal, form: Form::Text, terminals, closed: false }
    }

    /// Whether the reader of the output went away (`| head`), which is no failure.
    pub(super) fn closed(&self) -> bool {
        self.closed
    }

    /// Writes a part of the answer.
    pub(super) fn write(&mut self, bytes: &[u8]) -> Result<()> {
        let outcome = self.out.write_all(bytes);
        self.written(outcome)
    }

    /// Hands everything on.
    pub(super) fn flush(&mut self) -> Result<()> {
        let outcome = self.out.flush();
        self.written(outcome)
    }

    fn written(&mut self, outcome: std::io::Result<()>) -> Result<()> {
        outcome.map_err(|error| {
            self.closed = error.kind() == std::io::ErrorKind::BrokenPipe;
            Error::unavailable("write to standard output").caused_by(error)
        })
    }

    /// One line of the answer.
    pub(super) fn line(&mut self, text: &str) -> Result<()> {
        self.write(text.as_bytes())?;
        self.write(b"\n")
    }

    /// The answer as JSON.
    pub(super) fn json(&mut self, value: &impl Serialize) -> Result<()> {
        let text = serde_json::to_string_pretty(value)
            .map_err(|error| Error::internal("write JSON").caused_by(error))?;
        self.line(&text)
    }

    /// Rows of cells in columns; numbers are put to the right.
    pub(super) fn table(&mut self, head: &[&str], rows: &[Vec<String>]) -> Result<()> {
        let width = |column: usize| {
            let cells = rows.iter().filter_map(|row| row.get(column)).map(|c| c.chars().count());
            cells.chain(head.get(column).map(|c| c.chars().count())).max().unwrap_or_default()
        };
        let widths: Vec<usize> = (0..head.len()).map(width).collect();
        let right: Vec<bool> = (0..head.len())
            .map(|column| {
                let mut cells = rows.iter().filter_map(|row| row.get(column));
                !rows.is_empty() && cells.all(|c| c.bytes().all(|b| b.is_ascii_digit()))
            })
            .collect();
        let head: Vec<String> = head.iter().map(|cell| (*cell).to_owned()).collect();
        for row in std::iter::once(&head).chain(rows) {
            let mut line = String::new();
            for ((cell, width), right) in row.iter().zip(&widths).zip(&right) {
                let cell: String = cell.chars().map(printable).collect();
                if *right {
                    line.push_str(&format!("{cell:>width$}  "));
                } else {
                    line.push_str(&format!("{cell:width$}  "));
                }
            }
            self.line(line.trim_end())?;
        }
        Ok(())
    }

    /// Says what was done, unless told to be quiet. Goes to standard error.
    pub(super) fn note(&mut self, text: &str) {
        if self.chatter == Chatter::Normal {
            self.complain(text);
        }
    }

    /// Says it in any case.
    pub(super) fn complain(&mut self, text: &str) {
        // There is nobody left to tell if this fails.
        drop(writeln!(self.err, "{text}"));
    }

    /// Asks a person; without one the answer is yes (scripts said what they want).
    pub(super) fn confirm(&mut self, question: &str) -> Result<bool> {
        if !self.terminals.input {
            return Ok(true);
        }
        write!(self.err, "{question} [y/N] ")?;
        self.err.flush()?;
        let mut answer = String::new();
        std::io::stdin().lock().read_line(&mut answer)?;
        Ok(matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes"))
    }

    /// A bar for `total` bytes; drawn only for a person.
    pub(super) fn bytes_bar(&self, total: u64, what: &str) -> ProgressBar {
        let form = "{msg} [{bar:30}] {bytes}/{total_bytes} {bytes_per_sec} {eta}";
        self.bar(total, what, form)
    }

    /// A bar for `total` rows; drawn only for a person.
    pub(super) fn rows_bar(&self, total: u64, what: &str) -> ProgressBar {
        self.bar(total, what, "{msg} [{bar:30}] {human_pos}/{human_len} rows {eta}")
    }

    fn bar(&self, total: u64, what: &str, form: &str) -> ProgressBar {
        if !self.terminals.error || self.chatter == Chatter::Quiet {
            return ProgressBar::hidden();
        }
        let bar = ProgressBar::with_draw_target(Some(total), ProgressDrawTarget::stderr());
        if let Ok(style) = ProgressStyle::with_template(form) {
            bar.set_style(style.progress_chars("=> "));
        }
        bar.set_message(what.to_owned());
        bar.enable_steady_tick(Duration::from_millis(200));
        bar
    }
}

/// Control characters could drive a terminal.
fn printable(c: char) -> char {
    if c.is_control() { char::REPLACEMENT_CHARACTER } else { c }
}
