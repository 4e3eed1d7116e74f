//! Long curves as few points that hide nothing: neighbours become one point with their mean, least
//! and greatest value.

use serde_json::{Value, json};

/// Values of a column that are not finite, listed one by one up to here.
const ODD: usize = 50;

/// A number as JSON holds it: NaN and infinities as text, for JSON has none of them.
pub fn number(value: f64) -> Value {
    if value.is_finite() {
        json!(value)
    } else if value.is_nan() {
        json!("NaN")
    } else {
        json!(if value > 0.0 { "inf" } else { "-inf" })
    }
}

pub fn optional(value: Option<f64>) -> Value {
    value.map_or(Value::Null, number)
}

/// Seven significant digits, float32's own, so that long curves make short files.
fn short(value: f64) -> Value {
    number(format!("{value:.6e}").parse().unwrap_or(value))
}

/// Rows that make one point, so that there are at most `most` of them.
pub fn rows_per_point(rows: usize, most: usize) -> usize {
    rows.div_ceil(most.max(1)).max(1)
}

/// One column over `x`, thinned to one point for `every` rows.
///
/// `x` is the last x of each point. `y` is the mean of the finite values of its rows (null where
/// there is none), `low` and `high` their range; both are left out where nothing was joined.
/// `odd` lists `[x, value]` of what is not finite, `odd_count` counts them.
pub fn column(x: &[f64], values: &[Option<f64>], every: usize) -> Value {
    let (mut y, mut low, mut high) = (Vec::new(), Vec::new(), Vec::new());
    for rows in values.chunks(every) {
        let finite: Vec<f64> = rows.iter().flatten().copied().filter(|v| v.is_finite()).collect();
        if finite.is_empty() {
            y.push(Value::Null);
            low.push(Value::Null);
            high.push(Value::Null);
            continue;
        }
        // The mean as a running one: a sum of huge values would overflow.
        let mean = finite.iter().zip(1..).fold(0.0, |mean, (v, n)| mean + (v - mean) / n as f64);
        y.push(short(mean));
        low.push(short(finite.iter().copied().fold(f64::INFINITY, f64::min)));
        high.push(short(finite.iter().copied().fold(f64::NEG_INFINITY, f64::max)));
    }
    let pairs = x.iter().zip(values);
    let odd: Vec<(f64, f64)> =
        pairs.filter_map(|(&x, v)| v.filter(|v| !v.is_finite()).map(|v| (x, v))).collect();
    let listed: Vec<Value> = odd.iter().take(ODD).map(|&(x, v)| json!([x, number(v)])).collect();
    let mut column = json!({ "y": y, "odd": listed, "odd_count": odd.len() });
    if every > 1 {
        column["low"] = json!(low);
        column["high"] = json!(high);
    }
    column
}

/// The x of each point: of its first and of its last row.
pub fn spans(x: &[f64], every: usize) -> (Vec<f64>, Vec<f64>) {
    let chunks = || x.chunks(every);
    (chunks().map(|c| c[0]).collect(), chunks().map(|c| c[c.len() - 1]).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_point_keeps_the_range_of_its_rows() {
        let x: Vec<f64> = (1..=7).map(f64::from).collect();
        let values = [1.0, 3.0, f64::NAN, 5.0, 7.0, f64::INFINITY, -2.0].map(Some);
        let thinned = column(&x, &values, 3);
        assert_eq!(thinned["y"], json!([2.0, 6.0, -2.0]));
        assert_eq!(thinned["low"], json!([1.0, 5.0, -2.0]));
        assert_eq!(thinned["high"], json!([3.0, 7.0, -2.0]));
        assert_eq!(thinned["odd"], json!([[3.0, "NaN"], [6.0, "inf"]]));
        assert_eq!(spans(&x, 3), (vec![1.0, 4.0, 7.0], vec![3.0, 6.0, 7.0]));
    }

    #[test]
    fn short_curves_stay_as_they_are() {
        assert_eq!(rows_per_point(1500, 1500), 1);
        assert_eq!(rows_per_point(1501, 1500), 2);
        assert_eq!(rows_per_point(0, 1500), 1);
        let thinned = column(&[1.0, 2.0], &[Some(0.125), None], 1);
        assert_eq!(thinned, json!({ "y": [0.125, null], "odd": [], "odd_count": 0 }));
    }

    #[test]
    fn huge_values_do_not_overflow() {
        let thinned = column(&[1.0, 2.0], &[Some(f64::MAX), Some(f64::MAX)], 2);
        assert!((thinned["y"][0].as_f64().unwrap() / f64::MAX - 1.0).abs() < 1e-6);
    }
}
