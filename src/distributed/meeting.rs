//! Meeting the other ranks, with an end whatever answers at the master's address.

use super::env::Launch;
use super::group::Group;
use crate::{Error, Result};
use std::net::ToSocketAddrs;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, Instant};
use tch::Device;

/// How much longer than its time limit libtorch may take, which limits each part of a meeting by itself.
const SPARE: Duration = Duration::from_secs(5);
/// Where a stop is asked for while the ranks meet, how long they may still take: one that has met the
/// others stops with them.
const SETTLE: Duration = Duration::from_secs(1);
/// A meeting that takes longer is told of.
const PATIENCE: Duration = Duration::from_secs(3);
const POLL: Duration = Duration::from_millis(20);

/// [`Group::join`], which also ends where something that is no store keeps the connection open and says
/// nothing, and where `stopped` names who asks for a stop.
///
/// # Errors
/// Those of [`Group::join`]; [`Error::Stopped`].
pub fn meet(
    launch: &Launch,
    device: Device,
    timeout: Duration,
    stopped: &dyn Fn() -> Option<&'static str>,
) -> Result<Group> {
    let (tell, told) = channel();
    let own = launch.clone();
    // libtorch's calls can't be interrupted; one that never returns ends with the process.
    let thread = move || drop(tell.send(Group::join(&own, device, timeout)));
    std::thread::Builder::new()
        .name("meeting".into())
        .spawn(thread)
        .map_err(|error| Error::failed(format!("cannot start a thread: {error}")))?;
    let begun = Instant::now();
    let (mut asked, mut said) = (None, false);
    loop {
        match told.recv_timeout(POLL) {
            Ok(met) => {
                // The thread that met is not the one that trains.
                let met = met?;
                met.handle().use_gpu()?;
                return Ok(met);
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => {
                return Err(Error::failed("arcrun panicked: this is a bug in arcrun"));
            }
        }
        let Launch { rank, size, master, port, .. } = launch;
        if let Some(by) = stopped()
            && asked.get_or_insert_with(Instant::now).elapsed() > SETTLE
        {
            return Err(Error::stopped(format!(
                "stopped by {by} while rank {rank} of {size} waited for the others at {master}:{port}"
            )));
        }
        if !said && begun.elapsed() > PATIENCE {
            said = true;
            let limit = timeout.as_secs_f64();
            crate::tell!(
                "rank {rank} of {size} waits for the others at {master}:{port}, {limit} s at most"
            );
        }
        if begun.elapsed() > timeout + SPARE {
            return Err(missed(
                launch,
                timeout,
                "not all ranks came (each must have the same WORLD_SIZE), or who listens there says nothing",
            ));
        }
    }
}

/// The error of a meeting that failed for `reason`, libtorch's or ours.
pub(super) fn missed(launch: &Launch, timeout: Duration, reason: &str) -> Error {
    let Launch { rank, size, master, port, .. } = launch;
    let limit = timeout.as_secs_f64();
    let reason = match (master.as_str(), *port).to_socket_addrs() {
        Err(error) => format!("no host {master} is known here: {error}"),
        Ok(_) if reason.starts_with("Ping failed") => {
            format!("what listens there is no rank of a run: {reason}")
        }
        Ok(_) => reason.to_string(),
    };
    Error::failed(format!(
        "rank {rank} of {size} did not meet the others at {master}:{port} within {limit} s: {reason}"
    ))
    .help(
        "look whether rank 0 runs there and the port is open to the other machines, and whether \
         all ranks were started; GLOO_SOCKET_IFNAME chooses the network interface",
    )
}
