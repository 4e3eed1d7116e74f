//! Slurm's lists of nodes, such as `gpu[03-05,07],login1`.

/// The first host of a list; none where it has none, or brackets that don't match.
pub fn first_host(list: &str) -> Option<String> {
    let (mut host, mut rest) = (String::new(), list.trim());
    while let Some(at) = rest.find(['[', ',']) {
        host.push_str(&rest[..at]);
        if rest[at..].starts_with(',') {
            rest = "";
            break;
        }
        let inside = &rest[at + 1..];
        let close = inside.find(']')?;
        let first = inside[..close].split([',', '-']).next()?;
        if first.is_empty() || !first.chars().all(|c| c.is_ascii_digit()) {
            return None;
        }
        host.push_str(first);
        rest = &inside[close + 1..];
    }
    host.push_str(rest);
    let name = |c: char| c.is_alphanumeric() || ['.', '-', '_', ':'].contains(&c);
    (!host.is_empty() && host.chars().all(name)).then_some(host)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_host_of_every_form() {
        for (list, host) in [
            ("node1", "node1"),
            ("node1,node2", "node1"),
            ("gpu[03-05,07],login1", "gpu03"),
            ("gpu[7,9-12]", "gpu7"),
            ("rack[2-3]node[010-020]", "rack2node010"),
            ("n[1-2].cluster.example,m1", "n1.cluster.example"),
            ("a-b-1,a-b-2", "a-b-1"),
        ] {
            assert_eq!(first_host(list).as_deref(), Some(host), "{list}");
        }
        for list in ["", "  ", "gpu[03-05", "gpu03]", "gpu[]", "gpu[a-b]", ",node1"] {
            assert_eq!(first_host(list), None, "{list}");
        }
    }
}
