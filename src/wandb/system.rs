//! Readings of the machine, by the names that W&B draws: `system.cpu`, `system.gpu.0.gpu` ...

use nvml_wrapper::Nvml;
use nvml_wrapper::enum_wrappers::device::TemperatureSensor;
use std::time::Instant;
use sysinfo::{Disks, Networks, Pid, ProcessRefreshKind, ProcessesToUpdate, System};

const MIB: f64 = 1048576.0;
const GIB: f64 = 1073741824.0;

/// What is read every few seconds.
pub struct Sampler {
    system: System,
    disks: Disks,
    networks: Networks,
    process: Pid,
    /// None: no NVIDIA driver.
    nvml: Option<Nvml>,
    begun: Option<Instant>,
}

impl Default for Sampler {
    fn default() -> Self {
        let mut system = System::new();
        system.refresh_cpu_usage();
        Sampler {
            system,
            disks: Disks::new_with_refreshed_list(),
            networks: Networks::new_with_refreshed_list(),
            process: Pid::from_u32(std::process::id()),
            nvml: Nvml::init().ok(),
            begun: None,
        }
    }
}

impl Sampler {
    /// Names without `system.`. What a machine does not tell is left out.
    pub fn read(&mut self) -> Vec<(String, f64)> {
        let mut readings: Vec<(String, f64)> = Vec::new();
        let mut add = |name: String, value: f64| readings.push((name, value));
        self.system.refresh_cpu_usage();
        self.system.refresh_memory();
        let only = ProcessesToUpdate::Some(&[self.process]);
        let what = ProcessRefreshKind::nothing().with_cpu().with_memory();
        self.system.refresh_processes_specifics(only, true, what);
        // The first reading has nothing to compare with.
        if self.begun.replace(Instant::now()).is_some() {
            add("cpu".into(), self.system.global_cpu_usage().into());
            for (core, cpu) in self.system.cpus().iter().enumerate() {
                add(format!("cpu.{core}.cpu_percent"), cpu.cpu_usage().into());
            }
        }
        let total = self.system.total_memory() as f64;
        if total > 0.0 {
            let used = 100.0 * self.system.used_memory() as f64 / total;
            add("memory".into(), used);
            add("memory_percent".into(), used);
            add("proc.memory.availableMB".into(), self.system.available_memory() as f64 / MIB);
        }
        if let Some(process) = self.system.process(self.process) {
            add("proc.memory.rssMB".into(), process.memory() as f64 / MIB);
            add("proc.cpu.percent".into(), process.cpu_usage().into());
            if total > 0.0 {
                add("proc.memory.percent".into(), 100.0 * process.memory() as f64 / total);
            }
        }
        if let Some(threads) = threads() {
            add("proc.cpu.threads".into(), threads);
        }
        self.disks.refresh(true);
        if let Some(root) = self.disks.iter().find(|disk| disk.mount_point().as_os_str() == "/") {
            let total = root.total_space() as f64;
            let used = total - root.available_space() as f64;
            add("disk./.usagePercent".into(), 100.0 * used / total.max(1.0));
            add("disk./.usageGB".into(), used / GIB);
        }
        self.networks.refresh(true);
        let (mut received, mut sent) = (0, 0);
        for (_, network) in &self.networks {
            received += network.total_received();
            sent += network.total_transmitted();
        }
        add("network.recv".into(), received as f64);
        add("network.sent".into(), sent as f64);
        if let Some(nvml) = &self.nvml {
            gpus(nvml, &mut readings);
        }
        readings
    }

    /// Name and number of the GPUs.
    pub fn gpus(&self) -> (String, u32) {
        let Some(nvml) = &self.nvml else { return Default::default() };
        let count = nvml.device_count().unwrap_or(0);
        let name = nvml.device_by_index(0).and_then(|device| device.name()).unwrap_or_default();
        (name, count)
    }
}

fn gpus(nvml: &Nvml, readings: &mut Vec<(String, f64)>) {
    for index in 0..nvml.device_count().unwrap_or(0) {
        let Ok(device) = nvml.device_by_index(index) else { continue };
        let mut add =
            |name: &str, value: f64| readings.push((format!("gpu.{index}.{name}"), value));
        if let Ok(use_of) = device.utilization_rates() {
            add("gpu", use_of.gpu.into());
            add("memory", use_of.memory.into());
        }
        if let Ok(memory) = device.memory_info() {
            add("memoryAllocated", 100.0 * memory.used as f64 / (memory.total as f64).max(1.0));
            add("memoryAllocatedBytes", memory.used as f64);
        }
        if let Ok(celsius) = device.temperature(TemperatureSensor::Gpu) {
            add("temp", celsius.into());
        }
        if let Ok(milliwatts) = device.power_usage() {
            add("powerWatts", f64::from(milliwatts) / 1e3);
            if let Ok(limit) = device.enforced_power_limit() {
                add("powerPercent", 100.0 * f64::from(milliwatts) / f64::from(limit.max(1)));
            }
        }
    }
}

/// Threads of this process.
fn threads() -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("Threads:"))?;
    line.split_whitespace().nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_machine_tells_its_use() {
        let mut sampler = Sampler::default();
        sampler.read();
        std::thread::sleep(sysinfo::MINIMUM_CPU_UPDATE_INTERVAL);
        let readings = sampler.read();
        let value = |name: &str| readings.iter().find(|(n, _)| n == name).map(|(_, v)| *v);
        for (name, least, most) in [
            ("cpu", 0.0, 100.0),
            ("memory", 0.1, 100.0),
            ("proc.memory.rssMB", 1.0, 1e6),
            ("network.recv", 0.0, 1e18),
        ] {
            let value = value(name).unwrap_or_else(|| panic!("{name} is missing"));
            assert!((least..=most).contains(&value), "{name} is {value}");
        }
        assert!(readings.iter().all(|(_, value)| value.is_finite()));
    }
}
