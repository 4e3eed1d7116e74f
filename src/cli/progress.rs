//! A progress bar for work that is counted in pieces, outside of training.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};
use std::fmt::Write;

/// For work of unknown length: a spinner with what was done so far.
#[derive(Clone)]
pub struct Spinner(ProgressBar);

impl Spinner {
    pub fn new(what: &'static str, quiet: bool) -> Self {
        let target =
            if quiet { ProgressDrawTarget::hidden() } else { ProgressDrawTarget::stderr() };
        let bar = ProgressBar::with_draw_target(None, target);
        let style = ProgressStyle::with_template("{spinner} {msg}: {pos} records, {elapsed}");
        let spinner = bar.with_style(style.expect("a valid template")).with_message(what);
        spinner.enable_steady_tick(std::time::Duration::from_millis(200));
        Spinner(spinner)
    }

    pub fn set(&self, done: usize) {
        self.0.set_position(done as u64);
    }

    /// Takes it off the screen.
    pub fn finish(&self) {
        self.0.finish_and_clear();
    }
}

/// Hidden until something is counted, where stderr is no terminal, and when quiet.
pub struct Counter(ProgressBar);

impl Counter {
    /// `what` stands in front of the bar.
    pub fn new(what: &'static str, quiet: bool) -> Self {
        let target =
            if quiet { ProgressDrawTarget::hidden() } else { ProgressDrawTarget::stderr() };
        let bar = ProgressBar::with_draw_target(Some(0), target);
        let style = ProgressStyle::with_template("{msg} {wide_bar} {pos}/{len} {rate} {eta}")
            .expect("a valid template")
            .with_key("rate", |state: &ProgressState, out: &mut dyn Write| {
                // Writing to the bar's own text can't fail.
                let _ = out.write_str(&rate(state.per_sec()));
            });
        Counter(bar.with_style(style).with_message(what))
    }

    pub fn set(&self, done: usize, total: usize) {
        self.0.set_length(total as u64);
        self.0.set_position(done as u64);
    }

    /// Takes the bar off the screen.
    pub fn finish(&self) {
        self.0.finish_and_clear();
    }
}

/// For a download: hidden where stderr is no terminal, and when quiet.
pub struct Bytes(ProgressBar);

impl Bytes {
    /// `what` stands in front of the bar.
    pub fn new(what: &'static str, quiet: bool) -> Self {
        let target =
            if quiet { ProgressDrawTarget::hidden() } else { ProgressDrawTarget::stderr() };
        let bar = ProgressBar::with_draw_target(Some(0), target);
        let form = "{msg} {wide_bar} {bytes}/{total_bytes} {bytes_per_sec} {eta}";
        let style = ProgressStyle::with_template(form).expect("a valid template");
        Bytes(bar.with_style(style).with_message(what))
    }

    /// Bytes so far and in all, where that is known.
    pub fn set(&self, done: u64, total: Option<u64>) {
        self.0.set_length(total.unwrap_or(done));
        self.0.set_position(done);
    }

    /// Takes the bar off the screen.
    pub fn finish(&self) {
        self.0.finish_and_clear();
    }
}

/// `1654/s`: pieces are counted, so a fraction of one says nothing; below ten a digit does.
fn rate(per_second: f64) -> String {
    let decimals = usize::from(per_second < 9.95);
    format!("{per_second:.decimals$}/s")
}

#[cfg(test)]
mod tests {
    use super::rate;

    #[test]
    fn rates_are_whole_numbers() {
        let shown = [1654.0772, 9.96, 9.94, 0.26, 0.0].map(rate);
        assert_eq!(shown, ["1654/s", "10/s", "9.9/s", "0.3/s", "0.0/s"]);
    }
}
