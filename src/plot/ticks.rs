//! Where an axis has its ticks, and how numbers are written.

/// A tick and its text; smaller ticks between have none.
#[derive(Clone, Debug, PartialEq)]
pub struct Tick {
    pub at: f64,
    pub label: String,
}

/// The smallest of 1, 2, 5 times a power of ten that is not below `least`.
fn round_up(least: f64) -> f64 {
    let power = 10f64.powf(least.log10().floor());
    let factor = [1.0, 2.0, 5.0].into_iter().find(|factor| factor * power >= least * (1.0 - 1e-9));
    factor.unwrap_or(10.0) * power
}

/// About `count` ticks at round numbers from `min` to `max`.
pub fn linear(min: f64, max: f64, count: usize) -> Vec<Tick> {
    let step = round_up((max - min) / count.max(1) as f64);
    every(min, max, step)
}

/// The same at whole numbers.
pub fn whole(min: f64, max: f64, count: usize) -> Vec<Tick> {
    let step = round_up((max - min) / count.max(1) as f64).max(1.0);
    every(min, max, step)
}

fn every(min: f64, max: f64, step: f64) -> Vec<Tick> {
    if !(step.is_finite() && step > 0.0) {
        return Vec::new();
    }
    let tolerance = step * 1e-6;
    let first = ((min - tolerance) / step).ceil();
    let last = ((max + tolerance) / step).floor();
    // More can't be read, whatever the numbers.
    let count = (last - first).clamp(0.0, 1000.0) as usize + usize::from(last >= first);
    let largest = min.abs().max(max.abs());
    let at = (0..count).map(|n| (first + n as f64) * step);
    at.map(|at| Tick { at, label: in_steps(at, step, largest) }).collect()
}

/// `value`, a multiple of `step`, with the decimals that all ticks up to `largest` share.
fn in_steps(value: f64, step: f64, largest: f64) -> String {
    if value == 0.0 {
        return "0".into();
    }
    let scaled = |unit: f64, name: &str| {
        let decimals = (-(step / unit).log10() - 1e-9).ceil().max(0.0) as usize;
        format!("{:.decimals$}{name}", value / unit)
    };
    match largest {
        _ if largest >= 1e7 => scaled(1e6, "M"),
        _ if largest >= 1e4 => scaled(1e3, "k"),
        _ if largest >= 1e-3 => scaled(1.0, ""),
        _ => number(value),
    }
}

/// Ticks of a logarithmic axis: the powers of ten, with a text for as many as `count`, and 2 and 5
/// where there are few; and the places of the smaller ticks between.
pub fn logarithmic(min: f64, max: f64, count: usize) -> (Vec<Tick>, Vec<f64>) {
    let decades = max.log10() - min.log10();
    let every = (decades / count.max(1) as f64).ceil().max(1.0) as i32;
    let factors: &[i32] = if decades < 2.5 { &[1, 2, 5] } else { &[1] };
    let inside = |at: f64| at >= min * (1.0 - 1e-9) && at <= max * (1.0 + 1e-9);
    let (mut ticks, mut small) = (Vec::new(), Vec::new());
    for exponent in min.log10().floor() as i32..=max.log10().ceil() as i32 {
        for factor in 1..10 {
            let at = f64::from(factor) * 10f64.powi(exponent);
            let labelled = factors.contains(&factor) && exponent.rem_euclid(every) == 0;
            match inside(at) {
                true if labelled => ticks.push(Tick { at, label: number(at) }),
                true if every == 1 || factor == 1 => small.push(at),
                _ => {}
            }
        }
    }
    (ticks, small)
}

/// Three significant digits, as short as they can be written.
pub fn number(value: f64) -> String {
    if value == 0.0 || !value.is_finite() {
        return format!("{value}");
    }
    let text = format!("{value:.2e}");
    let Some((mantissa, exponent)) = text.split_once('e') else { return text };
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if (-3..6).contains(&exponent) {
        let decimals = (2 - exponent).max(0) as usize;
        return trimmed(&format!("{value:.decimals$}"));
    }
    format!("{}e{exponent}", trimmed(mantissa))
}

/// Without zeros at the end of the fraction.
fn trimmed(text: &str) -> String {
    match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.').to_string(),
        false => text.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(ticks: &[Tick]) -> Vec<&str> {
        ticks.iter().map(|tick| tick.label.as_str()).collect()
    }

    #[test]
    fn ticks_are_round() {
        assert_eq!(labels(&linear(0.0, 0.104, 6)), ["0", "0.02", "0.04", "0.06", "0.08", "0.10"]);
        assert_eq!(labels(&linear(0.0, 900.0, 5)), ["0", "200", "400", "600", "800"]);
        assert_eq!(labels(&linear(0.0, 25_000.0, 5)), ["0", "5k", "10k", "15k", "20k", "25k"]);
        assert_eq!(labels(&linear(-1.0, 1.0, 4)), ["-1.0", "-0.5", "0", "0.5", "1.0"]);
        assert_eq!(labels(&linear(0.0, 4e-5, 4)), ["0", "1e-5", "2e-5", "3e-5", "4e-5"]);
        assert_eq!(labels(&whole(0.0, 3.0, 10)), ["0", "1", "2", "3"]);
        assert_eq!(labels(&whole(0.0, 0.5, 10)), ["0"]);
        assert!(linear(1.0, 1.0, 5).is_empty());
        assert!(linear(f64::NAN, 1.0, 5).is_empty());
    }

    #[test]
    fn powers_of_ten() {
        let (ticks, small) = logarithmic(1e-4, 0.1, 5);
        assert_eq!(labels(&ticks), ["1e-4", "0.001", "0.01", "0.1"]);
        assert_eq!(small.len(), 3 * 8);
        let (ticks, _) = logarithmic(0.009, 0.12, 5);
        assert_eq!(labels(&ticks), ["0.01", "0.02", "0.05", "0.1"]);
        let (ticks, _) = logarithmic(1e-12, 1.0, 4);
        assert_eq!(labels(&ticks), ["1e-12", "1e-9", "1e-6", "0.001", "1"]);
    }

    #[test]
    fn numbers_are_short() {
        let shown: Vec<String> =
            [0.0, 0.1, 0.1 + 0.2, 1.0 / 3.0, 1.714e-7, 4e-6, 0.00999999, 123456.0, 99.96, 1e6]
                .map(number)
                .into();
        let expected =
            ["0", "0.1", "0.3", "0.333", "1.71e-7", "4e-6", "0.01", "123456", "100", "1e6"];
        assert_eq!(shown, expected);
        assert_eq!(number(f64::NAN), "NaN");
        assert_eq!(number(-0.025), "-0.025");
    }
}
