use super::*;

const TORCHRUN: [(&str, &str); 9] = [
    ("RANK", "3"),
    ("LOCAL_RANK", "1"),
    ("WORLD_SIZE", "4"),
    ("LOCAL_WORLD_SIZE", "2"),
    ("MASTER_ADDR", "10.0.0.7"),
    ("MASTER_PORT", "29400"),
    ("TORCHELASTIC_RESTART_COUNT", "2"),
    ("TORCHELASTIC_RUN_ID", "abc"),
    ("TORCHELASTIC_USE_AGENT_STORE", "True"),
];

const SLURM: [(&str, &str); 6] = [
    ("SLURM_JOB_ID", "812"),
    ("SLURM_STEP_ID", "0"),
    ("SLURM_NTASKS", "4"),
    ("SLURM_PROCID", "3"),
    ("SLURM_LOCALID", "1"),
    ("SLURM_STEP_NODELIST", "gpu[03-04]"),
];

/// The variables of `base` with some changed, or taken away by an empty value.
fn read(base: &[(&str, &str)], changes: &[(&str, &str)]) -> Result<Option<Launch>> {
    let find = |name: &str| {
        let all = changes.iter().chain(base);
        all.into_iter().find(|(known, _)| *known == name).map(|(_, value)| value.to_string())
    };
    Launch::of(&find)
}

/// The error of a wrong environment, which must name all of `names`.
fn refused(base: &[(&str, &str)], changes: &[(&str, &str)], names: &[&str]) {
    match read(base, changes) {
        Err(error @ Error::Input { .. }) => {
            let Error::Input { message, help } = &error else { unreachable!() };
            assert!(names.iter().all(|name| message.contains(name)), "{message}: {names:?}");
            assert!(help.is_some(), "{message}");
        }
        other => panic!("{changes:?} gave {other:?}"),
    }
}

#[test]
fn torchrun_is_read() {
    let launch = read(&TORCHRUN, &[]).unwrap().unwrap();
    let expected = Launch {
        launcher: Launcher::Torchrun,
        rank: 3,
        local_rank: 1,
        size: 4,
        local_size: Some(2),
        master: "10.0.0.7".into(),
        port: 29400,
        restarts: 2,
        run: "abc".into(),
        agent_store: true,
    };
    assert_eq!(launch, expected);
}

#[test]
fn slurm_is_read() {
    let launch = read(&SLURM, &[]).unwrap().unwrap();
    assert_eq!((launch.rank, launch.local_rank, launch.size), (3, 1, 4));
    assert_eq!((launch.launcher, launch.master.as_str()), (Launcher::Slurm, "gpu03"));
    assert_eq!(launch.run, "812.0");
    let other = |name, value| read(&SLURM, &[(name, value)]).unwrap().unwrap();
    assert!((20000..30000).contains(&launch.port));
    assert_ne!(other("SLURM_JOB_ID", "813").port, launch.port);
    assert_ne!(other("SLURM_STEP_ID", "1").port, launch.port);
    assert_eq!(other("MASTER_PORT", "1234").port, 1234);
    assert_eq!(other("MASTER_ADDR", "head").master, "head");
    assert_eq!(other("SLURM_RESTART_COUNT", "2").restarts, 2);
    let list = [("SLURM_STEP_NODELIST", ""), ("SLURM_NODELIST", "a1,a2")];
    assert_eq!(read(&SLURM, &list).unwrap().unwrap().master, "a1");
}

#[test]
fn one_process_is_none() {
    assert_eq!(read(&[], &[]).unwrap(), None);
    assert_eq!(read(&[], &[("MASTER_ADDR", "x"), ("MASTER_PORT", "1")]).unwrap(), None);
    assert_eq!(read(&TORCHRUN, &[("WORLD_SIZE", "1"), ("RANK", "0")]).unwrap(), None);
    assert_eq!(read(&SLURM, &[("SLURM_NTASKS", "1")]).unwrap(), None);
    assert_eq!(read(&SLURM, &[("SLURM_STEP_ID", "")]).unwrap(), None, "a batch script");
}

#[test]
fn missing_variables_are_named() {
    for name in ["RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT"] {
        refused(&TORCHRUN, &[(name, "")], &[name]);
    }
    for name in ["SLURM_PROCID", "SLURM_LOCALID", "SLURM_JOB_ID", "SLURM_STEP_NODELIST"] {
        refused(&SLURM, &[(name, "")], &[name]);
    }
}

#[test]
fn values_without_sense_are_named() {
    refused(&TORCHRUN, &[("RANK", "4")], &["RANK", "WORLD_SIZE"]);
    refused(&TORCHRUN, &[("RANK", "x")], &["RANK", "x"]);
    refused(&TORCHRUN, &[("WORLD_SIZE", "-1")], &["WORLD_SIZE", "-1"]);
    refused(&TORCHRUN, &[("WORLD_SIZE", "0")], &["WORLD_SIZE"]);
    refused(&TORCHRUN, &[("LOCAL_RANK", "2")], &["LOCAL_RANK", "LOCAL_WORLD_SIZE"]);
    refused(&TORCHRUN, &[("LOCAL_WORLD_SIZE", "5")], &["LOCAL_WORLD_SIZE", "WORLD_SIZE"]);
    refused(&TORCHRUN, &[("MASTER_PORT", "70000")], &["MASTER_PORT", "70000"]);
    refused(&SLURM, &[("SLURM_PROCID", "4")], &["SLURM_PROCID", "SLURM_NTASKS"]);
    refused(&SLURM, &[("SLURM_STEP_NODELIST", "gpu[03")], &["SLURM_STEP_NODELIST", "gpu[03"]);
}

#[test]
fn two_launchers_are_held_against_each_other() {
    let both: Vec<_> = SLURM.iter().chain(&TORCHRUN).copied().collect();
    // torchrun under srun: the inner ones count, whatever srun started.
    assert_eq!(
        read(&both, &[("SLURM_NTASKS", "2"), ("SLURM_PROCID", "1")]).unwrap().unwrap().size,
        4
    );
    // Variables by hand beside srun's.
    let by_hand = [("TORCHELASTIC_RUN_ID", "")];
    assert_eq!(read(&both, &by_hand).unwrap().unwrap().rank, 3);
    let with = |name, value| [by_hand[0], (name, value)];
    refused(&both, &with("RANK", "0"), &["RANK", "SLURM_PROCID"]);
    refused(&both, &with("WORLD_SIZE", "8"), &["WORLD_SIZE", "SLURM_NTASKS"]);
    refused(&both, &with("LOCAL_RANK", "0"), &["LOCAL_RANK", "SLURM_LOCALID"]);
    let alone = [by_hand[0], ("RANK", "0"), ("WORLD_SIZE", "1")];
    refused(&both, &alone, &["WORLD_SIZE", "SLURM_NTASKS"]);
}

#[test]
fn a_port_that_nobody_knows_is_refused() {
    refused(&TORCHRUN, &[("MASTER_PORT", "0")], &["MASTER_PORT is 0"]);
    refused(&SLURM, &[("MASTER_PORT", "0")], &["MASTER_PORT is 0"]);
}

#[test]
fn an_interactive_shell_of_slurm_is_one_process() {
    // `salloc`: a step of one task in a job of several.
    let shell = [("SLURM_STEP_NUM_TASKS", "1"), ("SLURM_PROCID", "0"), ("SLURM_LOCALID", "0")];
    assert!(read(&SLURM, &shell).unwrap().is_none());
    let step = [("SLURM_STEP_NUM_TASKS", "4"), ("SLURM_NTASKS", "8")];
    assert_eq!(read(&SLURM, &step).unwrap().unwrap().size, 4);
    refused(&SLURM, &[("SLURM_NTASKS", "")], &["SLURM_NTASKS is not"]);
}
