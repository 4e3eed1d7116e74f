//! How strongly each parameter of a sweep goes with a metric.
//!
//! Both measures work on ranks (equal values share the mean of their ranks), so that one diverged
//! trial does not decide them, and both run from 0 (no relation) to 1: of numeric parameters the
//! magnitude of Spearman's correlation, of others the correlation ratio eta, the square root of the
//! share of the ranks' variance that lies between the values of the parameter.

use std::collections::BTreeMap;

/// How strong, and of numeric parameters the direction.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Importance {
    /// Spearman's rho, -1 to 1.
    Rho(f64),
    /// The correlation ratio, 0 to 1.
    Eta(f64),
}

/// Of a numeric parameter; None where it or the metric does not vary.
pub fn numeric(parameter: &[f64], metric: &[f64]) -> Option<Importance> {
    correlation(&ranks(parameter), &ranks(metric)).map(Importance::Rho)
}

/// Of a parameter of texts; None where it or the metric does not vary.
pub fn categorical(parameter: &[&str], metric: &[f64]) -> Option<Importance> {
    let ranks = ranks(metric);
    let mut groups: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
    for (value, rank) in parameter.iter().zip(&ranks) {
        groups.entry(value).or_default().push(*rank);
    }
    let mean = mean(&ranks);
    let total: f64 = ranks.iter().map(|rank| (rank - mean).powi(2)).sum();
    if groups.len() < 2 || total == 0.0 {
        return None;
    }
    let between: f64 =
        groups.values().map(|group| group.len() as f64 * (self::mean(group) - mean).powi(2)).sum();
    // Rounding may lift a share of the whole a little above it.
    Some(Importance::Eta((between / total).min(1.0).sqrt()))
}

/// Ranks from 1; equal values share the mean of theirs.
fn ranks(values: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|&a, &b| values[a].total_cmp(&values[b]));
    let mut ranks = vec![0.0; values.len()];
    let mut before = 0;
    for ties in order.chunk_by(|&a, &b| values[a] == values[b]) {
        let rank = before as f64 + (ties.len() + 1) as f64 / 2.0;
        ties.iter().for_each(|&n| ranks[n] = rank);
        before += ties.len();
    }
    ranks
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

fn correlation(x: &[f64], y: &[f64]) -> Option<f64> {
    let (mx, my) = (mean(x), mean(y));
    let (mut xy, mut xx, mut yy) = (0.0, 0.0, 0.0);
    for (x, y) in x.iter().zip(y) {
        xy += (x - mx) * (y - my);
        xx += (x - mx).powi(2);
        yy += (y - my).powi(2);
    }
    (xx > 0.0 && yy > 0.0).then(|| (xy / (xx * yy).sqrt()).clamp(-1.0, 1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(serde::Deserialize)]
    struct Case {
        name: String,
        metric: Vec<f64>,
        numeric: Option<Vec<f64>>,
        categorical: Option<Vec<String>>,
        expected: f64,
    }

    /// tools/parity/report.py: scipy's spearmanr, and f_oneway over scipy's ranks.
    #[test]
    fn agrees_with_scipy() {
        let text = include_str!("../../tests/fixtures/report/importance.json");
        let cases: Vec<Case> = serde_json::from_str(text).unwrap();
        assert!(cases.len() >= 6);
        for Case { name, metric, numeric: numbers, categorical: texts, expected } in cases {
            let found = match (&numbers, &texts) {
                (Some(numbers), _) => numeric(numbers, &metric),
                (_, Some(texts)) => {
                    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
                    categorical(&texts, &metric)
                }
                _ => panic!("{name} has no parameter"),
            };
            let Some(Importance::Rho(found) | Importance::Eta(found)) = found else {
                panic!("{name}: nothing found")
            };
            // Sums of at most 60 products of ranks: about 60 roundings of 1.1e-16, then a root.
            assert!((found - expected).abs() < 1e-13, "{name}: {found} {expected}");
        }
    }

    #[test]
    fn what_does_not_vary_has_none() {
        assert_eq!(numeric(&[1.0, 1.0, 1.0], &[1.0, 2.0, 3.0]), None);
        assert_eq!(numeric(&[1.0, 2.0], &[3.0, 3.0]), None);
        assert_eq!(categorical(&["a", "a"], &[1.0, 2.0]), None);
        assert_eq!(numeric(&[], &[]), None);
        assert_eq!(categorical(&["a", "b"], &[1.0, 2.0]), Some(Importance::Eta(1.0)));
        assert_eq!(numeric(&[3.0, 2.0], &[1.0, 2.0]), Some(Importance::Rho(-1.0)));
    }
}
