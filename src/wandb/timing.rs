//! How often, how long, how patiently.

use std::time::Duration;

/// The official client's intervals by default; tests shorten them all by one factor.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Timing {
    /// Between two requests to the stream, the first of which goes at once.
    pub interval: Duration,
    /// Without anything to send, after which an empty request says that the run lives.
    pub heartbeat: Duration,
    /// Between readings of the machine.
    pub sample: Duration,
    /// Before the first repetition; doubles each time.
    pub retry_first: Duration,
    pub retry_longest: Duration,
    /// After which a request is given up.
    pub retry_for: Duration,
    /// Repetitions of a GraphQL request by `run sync`; a run that is being trained has the time of
    /// `retry_for`.
    pub graphql_retries: u32,
    pub graphql_timeout: Duration,
    pub stream_timeout: Duration,
    /// Of a file, besides what its size takes.
    pub put_timeout: Duration,
    pub connect_timeout: Duration,
    /// At the end of the run: without anything going through, after which the rest is left for
    /// `run sync`.
    pub give_up: Duration,
    /// Between two requests of all runs of a machine to one server, and how many may go at once
    /// after a silence. W&B's own limits are by run (2 a second) and project (500 a second).
    pub node_interval: Duration,
    pub node_burst: u32,
}

impl Default for Timing {
    fn default() -> Self {
        let seconds = Duration::from_secs;
        Timing {
            interval: seconds(15),
            heartbeat: seconds(30),
            sample: seconds(15),
            retry_first: seconds(2),
            retry_longest: seconds(60),
            retry_for: seconds(7 * 24 * 3600),
            graphql_retries: 20,
            graphql_timeout: seconds(30),
            stream_timeout: seconds(180),
            put_timeout: seconds(20),
            connect_timeout: seconds(10),
            give_up: seconds(30),
            node_interval: Duration::from_millis(100),
            node_burst: 20,
        }
    }
}

impl Timing {
    /// Everything `factor` times as fast: an hour passes in 3.6 s with 1000.
    pub fn faster(self, factor: f64) -> Timing {
        let scale = |duration: Duration| duration.div_f64(factor);
        Timing {
            interval: scale(self.interval),
            heartbeat: scale(self.heartbeat),
            sample: scale(self.sample),
            retry_first: scale(self.retry_first),
            retry_longest: scale(self.retry_longest),
            retry_for: scale(self.retry_for),
            node_interval: scale(self.node_interval),
            ..self
        }
    }

    /// The longest wait that a server is granted: its clock may be wrong.
    pub fn longest_wait(&self) -> Duration {
        self.retry_longest.mul_f64(60.0)
    }
}
