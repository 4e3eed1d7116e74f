use super::*;
use std::os::unix::fs::{PermissionsExt, symlink};

const SECOND: i64 = 1_000_000;
const LIMITS: Limits = Limits { interval: 100_000, ahead: 400_000, longest: 3600 * SECOND };
/// Some time in 2026.
const NOW: i64 = 1_790_000_000 * SECOND;

fn within(folder: &Path) -> Pace {
    Pace::within(folder, "https://x", &Timing::default())
}

/// What the file says, as one who comes at `now` takes it.
fn held(pace: &Pace) -> State {
    State::read(&open(pace.file.as_ref().unwrap()).unwrap(), now().unwrap(), &pace.limits)
}

fn run<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

#[test]
fn a_burst_then_the_rate() {
    let mut state = State::default();
    let slots: Vec<i64> = (0..8).map(|_| state.take(NOW, &LIMITS) - NOW).collect();
    assert_eq!(slots, [0, 0, 0, 0, 0, 100_000, 200_000, 300_000]);
    // A silence brings the burst back, no more of it.
    let later = NOW + 60 * SECOND;
    let at_once = (0..8).filter(|_| state.take(later, &LIMITS) == later).count();
    assert_eq!(at_once, 5);
}

#[test]
fn nobody_comes_before_the_end_of_a_wait_nor_together_after_it() {
    let mut state = State::default();
    state.take(NOW, &LIMITS);
    state.block(NOW + 10 * SECOND, &LIMITS);
    // A shorter wait takes nothing back.
    state.block(NOW + 5 * SECOND, &LIMITS);
    let slots: Vec<i64> = (0..4).map(|n| state.take(NOW + n, &LIMITS) - NOW).collect();
    let end = 10 * SECOND;
    assert_eq!(slots, [end, end + 100_000, end + 200_000, end + 300_000]);
}

#[test]
fn what_is_left_is_spread_over_all() {
    let mut state = State::default();
    state.take(NOW, &LIMITS);
    // Three left for eight seconds: two seconds between.
    (state.spacing, state.spacing_until) = (2 * SECOND, NOW + 8 * SECOND);
    let slots: Vec<i64> = (0..6).map(|_| state.take(NOW + 1, &LIMITS) - NOW).collect();
    let expected = [2.0, 4.0, 6.0, 8.0, 8.1, 8.2].map(|at: f64| (at * 1e6).round() as i64);
    assert_eq!(slots, expected);
    let mut state = State { spacing: SECOND, spacing_until: NOW - 1, last: NOW, ..state };
    state.due = 0;
    assert_eq!(state.take(NOW, &LIMITS), NOW);
}

#[test]
fn what_cannot_be_true_is_begun_anew() {
    let folder = tempfile::tempdir().unwrap();
    let pace = within(&folder.path().join("pace"));
    assert_eq!(pace.trouble(), None);
    let path = pace.file.clone().unwrap();
    run(pace.told_to_wait(Duration::from_secs(1800)));
    let told = held(&pace);
    assert!(told.blocked > now().unwrap() + 1700 * SECOND);
    let good = std::fs::read(&path).unwrap();
    assert_eq!(good.len(), SIZE);

    let mut flipped = good.clone();
    flipped[20] ^= 1;
    let text = |state: &State| {
        state.write(&open(&path).unwrap()).unwrap();
        std::fs::read(&path).unwrap()
    };
    // The clock went back by a day; a time of another century, though it was written before.
    let day = 24 * 3600 * SECOND;
    let back = text(&State { written: told.written + day, blocked: told.blocked + 1, ..told });
    let far = text(&State { blocked: i64::MAX / 4, ..told });
    for bytes in [&b""[..], b"something else", &good[..60], &flipped, &back, &far] {
        std::fs::write(&path, bytes).unwrap();
        assert_eq!(held(&pace), State::default(), "{}", String::from_utf8_lossy(bytes));
        let begun = std::time::Instant::now();
        run(pace.turn());
        assert!(begun.elapsed() < Duration::from_secs(1));
        assert_ne!(held(&pace), State::default());
    }
    // Nothing of another server.
    let other = Pace::within(&folder.path().join("pace"), "https://y", &Timing::default());
    assert_ne!(other.file, pace.file);
}

#[test]
fn who_holds_the_lock_stops_nobody() {
    let folder = tempfile::tempdir().unwrap();
    let pace = within(&folder.path().join("pace"));
    run(pace.told_to_wait(Duration::from_secs(1800)));
    let holder = open(pace.file.as_ref().unwrap()).unwrap();
    holder.lock().unwrap();
    let begun = std::time::Instant::now();
    run(pace.turn());
    assert!(begun.elapsed() < Duration::from_secs(2));
}

#[test]
fn a_folder_that_is_not_ones_own_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let open_to_all = folder.path().join("open");
    std::fs::create_dir(&open_to_all).unwrap();
    std::fs::set_permissions(&open_to_all, PermissionsExt::from_mode(0o777)).unwrap();
    let link = folder.path().join("link");
    symlink(folder.path(), &link).unwrap();
    let file = folder.path().join("file");
    std::fs::write(&file, "").unwrap();
    for place in [open_to_all.clone(), link, file, folder.path().join("none/below")] {
        let pace = within(&place);
        let trouble = pace.trouble().unwrap();
        assert!(trouble.contains(&place.display().to_string()), "{trouble}");
        assert_eq!(pace.trouble(), None);
        run(pace.told_to_wait(Duration::from_secs(60)));
        run(pace.turn());
    }
    assert_eq!(open_to_all.read_dir().unwrap().count(), 0);
    // One that goes away later costs nothing either.
    let gone = folder.path().join("gone");
    let pace = within(&gone);
    std::fs::remove_dir_all(&gone).unwrap();
    run(pace.turn());
}
