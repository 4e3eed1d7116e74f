//! The processes of a run, joined.

use super::env::Launch;
use super::gpu;
use super::meeting;
use crate::torch::c10d::{self, Handle};
use crate::torch::device::cuda_uuid;
use crate::{Error, Result};
use std::net::{ToSocketAddrs, UdpSocket};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tch::{Device, Tensor};

pub use c10d::Reduction;

/// Longest part of a fingerprint that a message shows, characters.
const SHOWN: usize = 80;

/// Before the reason why a rank has no GPU.
const REFUSED: &str = "refused: ";

/// All ranks of a run. Its collectives wait for their result and are called by all ranks in the same
/// order; each has the group's time limit. Errors are [`Error::Failed`] and name rank, address and limit.
#[derive(Debug)]
pub struct Group {
    handle: Arc<Handle>,
    launch: Launch,
    timeout: Duration,
    agreements: AtomicU64,
}

impl Group {
    /// Meets the other ranks at the master and connects to all of them; `timeout` is for that and for
    /// every collective. The network interface is that of `GLOO_SOCKET_IFNAME`, else the one that the
    /// master is reached by. With a GPU as `device` tensors on it go by NCCL, and those on the CPU by Gloo
    /// or, in a build without, over the GPU.
    ///
    /// # Errors
    /// A device that is neither CPU nor GPU, a build without Gloo (CPU) or NCCL (GPU), a master that can't
    /// be reached, ranks that don't come, two ranks on one GPU.
    pub fn join(launch: &Launch, device: Device, timeout: Duration) -> Result<Group> {
        Self::join_by(launch, device, timeout, c10d::has_gloo())
    }

    /// [`Group::join`]; without `gloo` as a build that has none, which needs a GPU.
    ///
    /// # Errors
    /// As [`Group::join`].
    pub fn join_by(
        launch: &Launch,
        device: Device,
        timeout: Duration,
        gloo: bool,
    ) -> Result<Group> {
        let object = match device {
            Device::Cpu if gloo => None,
            Device::Cpu => {
                let message =
                    format!("{} processes on the CPU: this build has no Gloo", launch.size);
                return Err(Error::input(message).help("apt install libgloo-dev, then build again"));
            }
            Device::Cuda(index) => Some((gpu::nccl_object(launch, device)?, index)),
            _ => {
                let message = format!("{} processes on {device:?}", launch.size);
                return Err(Error::input(message)
                    .help("several processes train on CPUs or NVIDIA GPUs: add --device cpu"));
            }
        };
        let interfaces = std::env::var("GLOO_SOCKET_IFNAME").unwrap_or_default();
        let interface = interfaces.split(',').map(str::trim).find(|name| !name.is_empty());
        let options = c10d::Options {
            host: launch.master.clone(),
            port: launch.port,
            serves: launch.rank == 0 && !launch.agent_store,
            prefix: format!("arcrun/{}/{}", launch.run, launch.restarts),
            rank: launch.rank,
            size: launch.size,
            address: own_address(&launch.master, launch.port),
            interface: interface.map(String::from),
            timeout,
            gloo,
        };
        let handle = Handle::new(&options)
            .map_err(|error| meeting::missed(launch, timeout, first_line(&error.to_string())))?;
        let (launch, agreements) = (launch.clone(), AtomicU64::new(0));
        let group = Group { handle: Arc::new(handle), launch, timeout, agreements };
        if let Some((object, index)) = object {
            group.connect_gpus(&object, index)?;
        }
        Ok(group)
    }

    /// Every rank opens NCCL on its GPU and tells the others, so that all refuse alike; then the GPUs are
    /// connected.
    fn connect_gpus(&self, object: &Path, index: usize) -> Result<()> {
        let opened = self.handle.add_gpu(object, index).and_then(|()| cuda_uuid(index));
        let said = self.hear_all(
            "gpu",
            &match opened {
                Ok(uuid) => format!("{index} {uuid}"),
                Err(error) => format!("{index} {REFUSED}{}", first_line(&error.to_string())),
            },
        )?;
        let mut uuids = Vec::new();
        for (rank, said) in said.iter().enumerate() {
            let (index, uuid) = said.split_once(' ').unwrap_or_default();
            if let Some(reason) = uuid.strip_prefix(REFUSED) {
                let device = Device::Cuda(index.parse().unwrap_or(0));
                return Err(gpu::failed(rank, self.size(), device, reason));
            }
            uuids.push(uuid.to_string());
        }
        gpu::check_apart(&uuids)?;
        self.handle.connect_gpus().map_err(|error| {
            let (rank, size) = (self.rank(), self.size());
            gpu::failed(rank, size, Device::Cuda(index), first_line(&error.to_string()))
        })
    }

    /// What each rank says, by the store alone. Rank 0, which keeps it, returns when all have heard.
    fn hear_all(&self, topic: &str, own: &str) -> Result<Vec<String>> {
        let key = |rank: usize| format!("{topic}/{rank}");
        let heard = |rank: usize| format!("{topic}/heard/{rank}");
        self.store_set(&key(self.rank()), own)?;
        let said = (0..self.size()).map(|rank| self.store_get(&key(rank)));
        let said = said.collect::<Result<_>>()?;
        self.store_set(&heard(self.rank()), "")?;
        if self.is_first() {
            for rank in 1..self.size() {
                self.store_wait(&[&heard(rank)])?;
            }
        }
        Ok(said)
    }

    /// Ends the connections of the GPUs, whose threads would end a process that exits beside them: when
    /// all collectives are done or, after an error, at once. No collective may follow.
    pub fn close(&self, orderly: bool) -> Result<()> {
        self.told("close the connections of the GPUs", self.handle.close(orderly))
    }

    pub fn rank(&self) -> usize {
        self.launch.rank
    }

    pub fn size(&self) -> usize {
        self.launch.size
    }

    /// Whether this is rank 0, which writes what one process is to write.
    pub fn is_first(&self) -> bool {
        self.rank() == 0
    }

    pub fn launch(&self) -> &Launch {
        &self.launch
    }

    pub fn timeout(&self) -> Duration {
        self.timeout
    }

    /// The group as `torch::c10d` has it.
    pub(crate) fn handle(&self) -> &Arc<Handle> {
        &self.handle
    }

    /// What a collective's failure means to people; also for the error of a backward pass, in which
    /// collectives run too.
    pub fn failed(&self, action: &str, reason: &str) -> Error {
        let Launch { rank, size, master, port, .. } = &self.launch;
        let (limit, reason) = (seconds(self.timeout), first_line(reason));
        Error::failed(format!(
            "rank {rank} of {size} (master {master}:{port}) failed to {action}: {reason} \
             (time limit {limit})"
        ))
        .help(
            "another rank ended, hangs or can't be reached: the first error among the outputs of all \
             ranks says why; start the run again with --continue-train auto to go on from its last \
             checkpoint",
        )
    }

    fn told<T>(&self, action: &str, result: Result<T>) -> Result<T> {
        result.map_err(|error| self.failed(action, &error.to_string()))
    }

    /// In place: what rank `root` has.
    pub fn broadcast(&self, tensor: &mut Tensor, root: usize) -> Result<()> {
        self.told("broadcast", self.handle.broadcast(tensor, root))
    }

    /// In place, element by element.
    pub fn all_reduce(&self, tensor: &mut Tensor, reduction: Reduction) -> Result<()> {
        self.told("reduce", self.handle.all_reduce(tensor, reduction))
    }

    /// Tensors of one shape and type, in rank order.
    ///
    /// # Shapes
    /// [...] -> [ranks, ...].
    pub fn all_gather(&self, tensor: &Tensor) -> Result<Tensor> {
        self.told("gather", self.handle.all_gather(tensor))
    }

    /// Numbers of all ranks, reduced.
    pub fn reduce_numbers(&self, values: &[f64], reduction: Reduction) -> Result<Vec<f64>> {
        let mut tensor = Tensor::from_slice(values);
        self.all_reduce(&mut tensor, reduction)?;
        (0..values.len()).map(|at| Ok(tensor.double_value(&[at as i64]))).collect()
    }

    /// Waits for all ranks.
    pub fn barrier(&self) -> Result<()> {
        self.barrier_within(self.timeout)
    }

    /// [`Group::barrier`] with a time limit of its own.
    pub fn barrier_within(&self, timeout: Duration) -> Result<()> {
        self.told("wait for the others", self.handle.barrier(timeout))
    }

    /// Rows of all ranks in rank order, with gradients: of a row their sum over the ranks. `counts`:
    /// every rank's rows.
    ///
    /// # Shapes
    /// [B_r, ...] -> [sum of B_r, ...].
    pub fn gather_rows(&self, rows: &Tensor, counts: &[i64]) -> Result<Tensor> {
        self.told("gather rows", c10d::gather_rows(&self.handle, rows, counts))
    }

    /// Sum over the ranks, whose gradient is the sum of theirs.
    pub fn sum(&self, tensor: &Tensor) -> Result<Tensor> {
        self.told("sum", c10d::sum_over_ranks(&self.handle, tensor))
    }

    /// For all ranks to read.
    pub fn store_set(&self, key: &str, value: &str) -> Result<()> {
        self.told("tell the others", self.handle.store_set(key, value.as_bytes()))
    }

    /// Waits until some rank has set it.
    pub fn store_get(&self, key: &str) -> Result<String> {
        let bytes = self.told("hear from the others", self.handle.store_get(key, self.timeout))?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// Waits until all of the keys are set.
    pub fn store_wait(&self, keys: &[&str]) -> Result<()> {
        self.told("hear from the others", self.handle.store_wait(keys, self.timeout))
    }

    /// Compares what all ranks have, such as the lines of the resolved configuration or the hash of the
    /// list of images.
    ///
    /// # Errors
    /// On every rank, where one has something else than rank 0: names those, and shows both.
    pub fn agree(&self, name: &str, fingerprint: &str) -> Result<()> {
        let number = self.agreements.fetch_add(1, Ordering::Relaxed);
        let key = |rank: usize| format!("agree/{number}/{rank}");
        self.store_set(&key(self.rank()), &format!("{name}\n{fingerprint}"))?;
        let said = (0..self.size()).map(|rank| {
            let bytes = self.handle.store_get(&key(rank), self.timeout);
            let text = self.told(&format!("hear the {name} of rank {rank}"), bytes)?;
            Ok(String::from_utf8_lossy(&text).into_owned())
        });
        let said: Vec<String> = said.collect::<Result<_>>()?;
        // All have read before rank 0, which keeps the store, may end.
        let met = self.barrier();
        let others: Vec<usize> = (1..said.len()).filter(|rank| said[*rank] != said[0]).collect();
        let Some(first) = others.first() else {
            return met;
        };
        // Of several lines the first that the other lacks.
        let value = |rank: usize| said[rank].split_once('\n').map_or("", |(_, value)| value);
        let shown = |rank: usize, other: usize| {
            let mut own =
                value(rank).lines().filter(|line| value(other).lines().all(|l| l != *line));
            own.next().unwrap_or("nothing").chars().take(SHOWN).collect::<String>()
        };
        let list: Vec<String> = others.iter().map(ToString::to_string).collect();
        let which = if others.len() == 1 { "rank" } else { "ranks" };
        Err(Error::failed(format!(
            "{which} {} and rank 0 differ in the {name}: {} on rank {first}, {} on rank 0",
            list.join(", "),
            shown(*first, 0),
            shown(0, *first),
        ))
        .help("start every rank with the same program, experiment and data"))
    }

    /// Bytes that this rank has sent so far in collectives and averages of gradients, computed from
    /// their sizes: 2 (n - 1) / n of what is reduced, n - 1 times what is gathered, (n - 1) / n of what
    /// is broadcast, as ring algorithms do it.
    pub fn sent(&self) -> u64 {
        self.handle.sent()
    }
}

/// The address of this machine that packets to the master leave from; the others reach it there.
fn own_address(master: &str, port: u16) -> Option<String> {
    let master = (master, port).to_socket_addrs().ok()?.next()?;
    let any = if master.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
    // Connecting a UDP socket sends nothing.
    let socket = UdpSocket::bind(any).ok()?;
    socket.connect(master).ok()?;
    Some(socket.local_addr().ok()?.ip().to_string())
}

fn first_line(text: &str) -> &str {
    text.lines().next().unwrap_or_default().trim_end_matches('.')
}

fn seconds(time: Duration) -> String {
    format!("{} s", time.as_secs_f64())
}
