use super::*;
use proptest::prelude::*;

fn save(epoch: u64, batch: u64, min_loss: bool) -> Save {
    Save {
        epoch,
        batch,
        step: epoch * 10 + batch,
        again: 0,
        min_loss,
        cut: false,
        best: Vec::new(),
    }
}

fn names(history: &[Save], policy: &Policy) -> Vec<String> {
    let kept = keep(history, policy);
    kept.iter()
        .map(|(name, i)| format!("{name}={}.{}", history[*i].epoch, history[*i].batch))
        .collect()
}

#[test]
fn nothing_from_nothing() {
    assert_eq!(keep(&[], &Policy { every_epochs: 1, last_epochs: 3 }), []);
}

#[test]
fn latest_and_min_loss_may_share_one() {
    let policy = Policy::default();
    assert_eq!(names(&[save(1, 0, true)], &policy), ["latest=1.0", "min-loss=1.0"]);
    let history = [save(1, 0, true), save(2, 0, true), save(3, 0, false)];
    assert_eq!(names(&history, &policy), ["latest=3.0", "previous=2.0", "min-loss=2.0"]);
}

#[test]
fn every_nth_and_the_last_k_ends_of_epochs() {
    let history: Vec<Save> =
        (1..=7).flat_map(|e| [save(e - 1, 5, false), save(e, 0, e == 1)]).collect();
    assert_eq!(
        names(&history, &Policy { every_epochs: 3, last_epochs: 2 }),
        [
            "latest=7.0",
            "previous=6.5",
            "min-loss=1.0",
            "epoch-0003=3.0",
            "epoch-0006=6.0",
            "epoch-0007=7.0"
        ]
    );
}

#[test]
fn the_state_before_training_is_no_epoch() {
    assert_eq!(
        names(&[save(0, 0, false)], &Policy { every_epochs: 1, last_epochs: 1 }),
        ["latest=0.0"]
    );
}

#[test]
fn a_position_saved_again_replaces_the_first() {
    let again = Save { again: 1, ..save(2, 0, true) };
    let history = [save(1, 0, false), save(2, 0, true), again];
    let kept = keep(&history, &Policy { every_epochs: 2, last_epochs: 0 });
    let expected =
        [(Name::Latest, 2), (Name::Previous, 0), (Name::MinLoss, 2), (Name::Epoch(2), 2)];
    assert_eq!(kept, expected);
}

#[test]
fn names_round_trip() {
    let best = Name::Best("lfw/accuracy".into());
    for name in [Name::Latest, Name::Previous, Name::MinLoss, best, Name::Epoch(12345)] {
        assert_eq!(Name::parse(&name.to_string()), Some(name));
    }
    assert_eq!(Name::parse("min_loss"), Some(Name::MinLoss));
    assert_eq!(Name::parse("10"), Some(Name::Epoch(10)));
    assert_eq!(Name::parse("epoch-x"), None);
    assert_eq!(Name::parse("best-"), None);
    let again = Save { again: 2, ..save(1, 2, true) };
    let best = Save { best: vec!["a.b@c=1e-3".into(), "d".into()], cut: true, ..again.clone() };
    for save in [save(3, 0, true), save(12345, 123456, false), again, best] {
        assert_eq!(Save::parse(&save.to_string()), Some(save));
    }
    for text in ["", "e1-b2", "e1-b2-s3-4", "e1-b2-s3-minimum", "x1-b2-s3", "e1-b2-s3+"] {
        assert_eq!(Save::parse(text), None, "{text}");
    }
}

#[test]
fn metrics_are_safe_in_a_file_name() {
    for (metric, name) in [
        ("lfw/accuracy", "best-lfw%2Faccuracy"),
        ("lfw/tar@far=1e-3", "best-lfw%2Ftar@far=1e-3"),
        ("train_loss", "best-train_loss"),
        ("a/b+c d%", "best-a%2Fb%2Bc%20d%25"),
        ("..", "best-.."),
        ("é", "best-%C3%A9"),
    ] {
        assert_eq!(Name::Best(metric.into()).to_string(), name);
        // As a user writes it, too.
        for text in [name, &format!("best-{metric}")] {
            assert_eq!(Name::parse(text), Some(Name::Best(metric.into())), "{text}");
        }
    }
    assert_eq!(Name::parse("best-%FF"), None);
    assert!(metrics_fit(&["x".repeat(159)]));
    assert!(!metrics_fit(&["x".repeat(160)]));
    assert!(!metrics_fit(&["é".repeat(27)]));
}

#[test]
fn the_best_of_each_metric_is_kept() {
    let of = |epoch, best: &[&str]| Save {
        best: best.iter().map(ToString::to_string).collect(),
        ..save(epoch, 0, epoch == 1)
    };
    let history = [of(1, &["a", "b"]), of(2, &["b"]), of(3, &["a"]), of(4, &[]), of(5, &[])];
    assert_eq!(
        names(&history, &Policy::default()),
        ["latest=5.0", "previous=4.0", "min-loss=1.0", "best-a=3.0", "best-b=2.0"]
    );
}

/// Histories as training writes them: positions that never go back, some of them twice.
fn histories() -> impl Strategy<Value = Vec<Save>> {
    let one = (0..4u64, any::<bool>(), prop::sample::subsequence(vec!["a", "b/c"], 0..=2));
    prop::collection::vec(one, 0..40).prop_map(|steps| {
        let (mut epoch, mut batch) = (0, 0);
        let mut all: Vec<Save> = Vec::new();
        for (kind, least, best) in steps {
            match (kind, all.last().cloned()) {
                // Once more where it stands: the same weights, so the same marks.
                (0, Some(last)) => {
                    all.push(Save { again: last.again + 1, ..last });
                    continue;
                }
                (1, _) => (epoch, batch) = (epoch + 1, 0),
                _ => batch += 1,
            }
            let best = if batch == 0 { best } else { Vec::new() };
            all.push(Save {
                epoch,
                batch,
                step: epoch * 100 + batch,
                again: 0,
                min_loss: least && batch == 0,
                cut: false,
                best: best.into_iter().map(String::from).collect(),
            });
        }
        all
    })
}

fn policies() -> impl Strategy<Value = Policy> {
    (0..5u64, 0..5usize)
        .prop_map(|(every_epochs, last_epochs)| Policy { every_epochs, last_epochs })
}

/// What `keep` names, by the save itself.
fn kept(history: &[Save], policy: &Policy) -> BTreeMap<Name, Save> {
    keep(history, policy).into_iter().map(|(name, i)| (name, history[i].clone())).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn names_of_any_history(history in histories(), policy in policies()) {
        let named = kept(&history, &policy);
        prop_assert_eq!(named.len(), keep(&history, &policy).len(), "a name is given twice");
        prop_assert_eq!(named.get(&Name::Latest), history.last());
        prop_assert_eq!(named.get(&Name::MinLoss), history.iter().rfind(|save| save.min_loss));
        for metric in ["a", "b/c"] {
            let best = history.iter().rfind(|save| save.best.iter().any(|m| m == metric));
            prop_assert_eq!(named.get(&Name::Best(metric.into())), best);
        }
        let mut epochs = 0;
        for (name, save) in &named {
            if let Name::Epoch(epoch) = name {
                prop_assert_eq!((save.epoch, save.batch), (*epoch, 0));
                epochs += usize::from(policy.every_epochs == 0 || epoch % policy.every_epochs != 0);
            }
            prop_assert_eq!(Name::parse(&name.to_string()), Some(name.clone()));
            prop_assert_eq!(Save::parse(&save.to_string()), Some(save.clone()));
        }
        prop_assert!(epochs <= policy.last_epochs);
    }

    /// Deleting what has no name after every save leaves the same as deleting once at the end.
    #[test]
    fn deleting_early_loses_nothing(history in histories(), policy in policies()) {
        let mut left: Vec<Save> = Vec::new();
        for save in &history {
            left.push(save.clone());
            let keeps = kept(&left, &policy);
            left.retain(|save| keeps.values().any(|kept| kept == save));
        }
        let (early, late) = (kept(&left, &policy), kept(&history, &policy));
        for (name, save) in &late {
            if *name != Name::Previous {
                prop_assert_eq!(early.get(name), Some(save), "{}", name);
            }
        }
        let distinct = 3 + 2 + policy.last_epochs;
        let every = history.iter().filter(|s| policy.every_epochs > 0 && s.batch == 0
            && s.epoch % policy.every_epochs == 0).count();
        prop_assert!(left.len() <= distinct + every);
    }
}
