//! How far a long piece of work is, for a person who watches; for nobody else.

use std::io::IsTerminal;
use std::sync::atomic::{AtomicBool, Ordering};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Somebody who wants to know how far the work is. Told by several threads at once.
pub trait Progress: Sync {
    /// So many bytes, or chunks, there are to do.
    fn start(&self, total: u64);

    /// So many more are done.
    fn add(&self, done: u64);

    /// There will be no more, whether all is well or not.
    fn finish(&self);
}

/// Nobody.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl Progress for Silent {
    fn start(&self, _: u64) {}
    fn add(&self, _: u64) {}
    fn finish(&self) {}
}

/// Whether a bar stands on the terminal's last line, where a dying program would write.
static SHOWN: AtomicBool = AtomicBool::new(false);

/// Whether a bar stands on the terminal's last line.
pub fn is_shown() -> bool {
    SHOWN.load(Ordering::Relaxed)
}

/// What a bar counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// Bytes that are written.
    Bytes,
    /// Chunks of a text that are run.
    Chunks,
}

/// What is done, the rate and the remaining time on standard error.
pub struct Bar(ProgressBar);

impl Bar {
    /// A bar, if standard error is a terminal; otherwise nobody.
    pub fn on_terminal(unit: Unit) -> Box<dyn Progress> {
        if !std::io::stderr().is_terminal() {
            return Box::new(Silent);
        }
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr_with_hz(10));
        let template = match unit {
            Unit::Bytes => "{bytes}/{total_bytes} [{wide_bar}] {bytes_per_sec}, {eta} left",
            Unit::Chunks => "{pos}/{len} chunks [{wide_bar}] {eta} left",
        };
        let style = ProgressStyle::with_template(template);
        Box::new(Self(bar.with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))))
    }
}

impl Progress for Bar {
    fn start(&self, total: u64) {
        SHOWN.store(true, Ordering::Relaxed);
        self.0.set_length(total);
        self.0.reset();
    }

    fn add(&self, done: u64) {
        self.0.inc(done);
    }

    fn finish(&self) {
        self.0.finish_and_clear();
        SHOWN.store(false, Ordering::Relaxed);
    }
}
