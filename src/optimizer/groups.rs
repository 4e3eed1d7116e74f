//! Parameter groups: which parameters get which share of the learning rate and of the weight
//! decay, and which are not trained. The same for every optimizer.
//!
//! A parameter's scales are products: of its part (`[groups.backbone]` ...), of its depth
//! (`layer_decay`, as in BEiT: Bao et al. 2022, arXiv:2106.08254; timm's
//! `param_groups_layer_decay`), and of every rule whose pattern its name matches. Its rate is then
//! the scheduled `optimizer.lr` times its scale, its decay `optimizer.weight_decay` times its own.

use std::collections::BTreeMap;
use tch::Tensor;

crate::config_struct! {
    /// Which parameters get which share of the learning rate and of the weight decay. The shares of
    /// part, depth and rules multiply.
    pub struct Groups {
        /// Whether parameters of one dimension or none (norms, biases, scales) get weight decay, as
        /// PyTorch gives it.
        pub norms_and_biases_decay: bool = true;
        /// Layer-wise decay of the learning rate: the backbone's last layer gets this share of it,
        /// each layer before it this share of the next; head and loss get it whole. A layer is the
        /// stem or a block.
        pub layer_decay: f64 = 1.0, that("above 0 and at most 1", |x| *x > 0.0 && *x <= 1.0);
        /// The backbone's parameters.
        pub backbone: Scales = Scales::default();
        /// The text tower's parameters.
        pub text: Scales = Scales::default();
        /// The parameters of the head, and of the texts' head.
        pub head: Scales = Scales::default();
        /// The loss's parameters, such as class weights.
        pub loss: Scales = Scales::default();
        /// Rules by name pattern, `[groups.rules.NAME]`; the name is yours.
        pub rules: BTreeMap<String, Rule> = BTreeMap::new();
    }
}

crate::config_struct! {
    /// Shares of the learning rate and of the weight decay.
    pub struct Scales {
        /// Multiplies the learning rate.
        pub lr_scale: f64 = 1.0, non_negative();
        /// Multiplies the weight decay.
        pub weight_decay_scale: f64 = 1.0, non_negative();
    }
}

crate::config_struct! {
    /// What holds for the parameters whose full name matches a pattern.
    pub struct Rule {
        /// Pattern over the full name, such as "backbone.layer4.*": `*` is any text, `?` any
        /// character, `[ab]` one of these.
        pub r#match: String = String::new(), required();
        /// Multiplies the learning rate.
        pub lr_scale: f64 = 1.0, non_negative();
        /// Multiplies the weight decay.
        pub weight_decay_scale: f64 = 1.0, non_negative();
        /// Not trained: no gradient, no weight decay. Running statistics of batch norms still move;
        /// `backbone.frozen` keeps those too.
        pub frozen: bool = false;
    }
}

/// A parameter with its shares.
#[derive(Debug)]
pub struct Member {
    pub parameter: Tensor,
    pub lr_scale: f64,
    pub weight_decay_scale: f64,
}

/// Parameters by name with their shares; frozen ones are left out.
#[derive(Debug, Default)]
pub struct Grouped {
    pub members: BTreeMap<String, Member>,
    /// How many parameters are in which group; None where the groups are the default ones.
    pub notice: Option<String>,
}

impl Grouped {
    /// How many numbers are trained.
    pub fn values(&self) -> usize {
        self.members.values().map(|member| member.parameter.numel()).sum()
    }
}

/// All in one group.
impl From<BTreeMap<String, Tensor>> for Grouped {
    fn from(parameters: BTreeMap<String, Tensor>) -> Self {
        let member = |parameter| Member { parameter, lr_scale: 1.0, weight_decay_scale: 1.0 };
        let members = parameters.into_iter().map(|(name, tensor)| (name, member(tensor)));
        Grouped { members: members.collect(), notice: None }
    }
}

/// Groups that don't fit the model.
#[derive(Clone, Debug, PartialEq)]
pub struct Misfit {
    /// Full key.
    pub key: String,
    pub message: String,
    pub help: String,
}

impl Groups {
    /// What is wrong whatever the model: (key below `groups`, message). `frozen`: the whole
    /// backbone is, for good.
    pub fn validate(&self, frozen: bool) -> Vec<(String, String)> {
        let mut wrong = Vec::new();
        for (name, rule) in &self.rules {
            if name.trim().is_empty() || name.contains(char::is_control) {
                let message = format!("has a rule named {name:?}: give it letters and digits");
                wrong.push(("rules".to_string(), message));
                continue;
            }
            if let Err(error) = glob::Pattern::new(&rule.r#match) {
                let message = format!("is {:?}, which is no pattern: {error}", rule.r#match);
                wrong.push((format!("rules.{name}.match"), message));
            }
        }
        if frozen && self.layer_decay < 1.0 {
            let message = "has nothing to act on: backbone.frozen is true".to_string();
            wrong.push(("layer_decay".to_string(), message));
        }
        if frozen && self.backbone != Scales::default() {
            let message = "has nothing to act on: backbone.frozen is true".to_string();
            wrong.push(("backbone".to_string(), message));
        }
        wrong
    }

    /// Gives every trained parameter its shares, and freezes what is to be frozen.
    ///
    /// `height` tells for a name below `backbone.` how many layers lie from it up to the head, 1
    /// being the last. `exempt` has full names of parameters that no decay must reach, whatever the
    /// experiment says of decay.
    ///
    /// # Errors
    /// A rule that matches none of `parameters`; no parameter is left to train.
    pub fn apply(
        &self,
        parameters: BTreeMap<String, Tensor>,
        height: &dyn Fn(&str) -> usize,
        exempt: &[String],
    ) -> Result<Grouped, Misfit> {
        let Groups { norms_and_biases_decay, layer_decay, backbone, text, head, loss, rules } =
            self;
        let patterns = self.patterns(&parameters)?;
        let mut grouped = Grouped::default();
        let mut counts = Counts::default();
        for (name, parameter) in parameters {
            let (mut lr_scale, mut weight_decay_scale) = (1.0, 1.0);
            let mut times = |lr: f64, weight_decay: f64| {
                lr_scale *= lr;
                weight_decay_scale *= weight_decay;
            };
            let part = match name.split_once('.') {
                Some(("backbone", below)) => {
                    // powf, as Python's `**`: powi may round otherwise.
                    times(layer_decay.powf(height(below) as f64), 1.0);
                    Some(backbone)
                }
                Some(("text", _)) => Some(text),
                Some(("head" | "text_head", _)) => Some(head),
                Some(("loss", _)) => Some(loss),
                _ => None,
            };
            if let Some(Scales { lr_scale, weight_decay_scale }) = part {
                times(*lr_scale, *weight_decay_scale);
            }
            if (!norms_and_biases_decay && parameter.dim() <= 1) || exempt.contains(&name) {
                times(1.0, 0.0);
            }
            let mut is_frozen = false;
            for (rule, pattern) in rules.values().zip(&patterns) {
                let Rule { r#match: _, lr_scale, weight_decay_scale, frozen } = rule;
                if pattern.matches(&name) {
                    times(*lr_scale, *weight_decay_scale);
                    is_frozen |= frozen;
                }
            }
            let shares = (!is_frozen).then_some((lr_scale, weight_decay_scale));
            counts.add(shares, &parameter);
            if is_frozen {
                let _ = parameter.set_requires_grad(false);
            } else {
                let member = Member { parameter, lr_scale, weight_decay_scale };
                grouped.members.insert(name, member);
            }
        }
        if grouped.members.is_empty() && !rules.is_empty() {
            return Err(Misfit {
                key: "groups.rules".to_string(),
                message: "`groups.rules` leaves no parameter to train".to_string(),
                help: "freeze less".to_string(),
            });
        }
        grouped.notice = (*self != Groups::default()).then(|| counts.text());
        Ok(grouped)
    }

    /// The rules' patterns in their order, each of which matches something.
    fn patterns(
        &self,
        parameters: &BTreeMap<String, Tensor>,
    ) -> Result<Vec<glob::Pattern>, Misfit> {
        let pattern = |(name, rule): (&String, &Rule)| {
            let text = &rule.r#match;
            let key = format!("groups.rules.{name}.match");
            let misfit = |why: String, help: String| Misfit {
                message: format!("`{key}` is {text:?}, which {why}"),
                key: key.clone(),
                help,
            };
            let pattern = glob::Pattern::new(text).map_err(|error| {
                misfit(format!("is no pattern: {error}"), "`*` is any text".to_string())
            })?;
            if parameters.keys().any(|name| pattern.matches(name)) {
                return Ok(pattern);
            }
            let near = near(text, parameters.keys());
            Err(misfit(
                "matches no parameter that is trained".to_string(),
                format!("names near it: {}", near.join(", ")),
            ))
        };
        self.rules.iter().map(pattern).collect()
    }
}

/// How many names an error shows.
const SHOWN: usize = 3;

/// Beginnings of names whose last parts are most like the pattern.
fn near<'a>(pattern: &str, names: impl Iterator<Item = &'a String>) -> Vec<String> {
    let wanted = pattern.trim_end_matches(['*', '?', '.']);
    let parts = wanted.split('.').count();
    let mut scored = std::collections::BTreeSet::new();
    for name in names {
        let ends = name.match_indices('.').map(|(at, _)| at).chain([name.len()]);
        for beginning in ends.map(|end| &name[..end]) {
            let from = beginning.rmatch_indices('.').nth(parts - 1).map_or(0, |(at, _)| at + 1);
            let distance = strsim::damerau_levenshtein(wanted, &beginning[from..]);
            let more = if beginning.len() < name.len() { ".*" } else { "" };
            scored.insert((distance, beginning.len(), format!("{beginning}{more}")));
        }
    }
    scored.into_iter().take(SHOWN).map(|(_, _, text)| text).collect()
}

/// Tensors and values by shares (lr, weight decay); None: frozen.
#[derive(Default)]
struct Counts(BTreeMap<Option<(u64, u64)>, (usize, usize)>);

impl Counts {
    fn add(&mut self, shares: Option<(f64, f64)>, parameter: &Tensor) {
        // Positive numbers have the order of their bits.
        let key = shares.map(|(lr, weight_decay)| (lr.to_bits(), weight_decay.to_bits()));
        let (tensors, values) = self.0.entry(key).or_default();
        *tensors += 1;
        *values += parameter.numel();
    }

    /// One phrase per group, the highest rate first, frozen ones last.
    fn text(&self) -> String {
        let phrase = |(key, (tensors, values)): (&Option<(u64, u64)>, &(usize, usize))| {
            let shares = match key {
                Some((lr, weight_decay)) => format!(
                    "lr x {}, weight decay x {}",
                    rounded(f64::from_bits(*lr)),
                    rounded(f64::from_bits(*weight_decay))
                ),
                None => "frozen".to_string(),
            };
            let tensors = counted(*tensors, "tensor");
            format!("{shares}: {tensors}, {}", counted(*values, "value"))
        };
        let phrases: Vec<String> = self.0.iter().rev().map(phrase).collect();
        format!("parameter groups: {}", phrases.join("; "))
    }
}

fn counted(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

/// Four significant digits.
fn rounded(value: f64) -> f64 {
    format!("{value:.3e}").parse().unwrap_or(value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tch::{Device, Kind};

    fn model() -> BTreeMap<String, Tensor> {
        let shapes: [(&str, &[i64]); 6] = [
            ("backbone.stem.weight", &[4, 3, 3, 3]),
            ("backbone.layer1.0.weight", &[4, 4]),
            ("backbone.layer1.0.bias", &[4]),
            ("head.linear.weight", &[2, 4]),
            ("loss.scale", &[]),
            ("loss.weight", &[5, 2]),
        ];
        let leaf = |shape: &[i64]| {
            Tensor::zeros(shape, (Kind::Float, Device::Cpu)).set_requires_grad(true)
        };
        shapes.iter().map(|(name, shape)| (name.to_string(), leaf(shape))).collect()
    }

    fn height(name: &str) -> usize {
        if name.starts_with("stem") { 2 } else { 1 }
    }

    /// Name -> (lr, weight decay).
    fn shares(groups: &Groups, exempt: &[&str]) -> BTreeMap<String, (f64, f64)> {
        let exempt: Vec<String> = exempt.iter().map(ToString::to_string).collect();
        let grouped = groups.apply(model(), &height, &exempt).unwrap();
        let share = |(name, m): (String, Member)| (name, (m.lr_scale, m.weight_decay_scale));
        grouped.members.into_iter().map(share).collect()
    }

    fn rule(pattern: &str, lr_scale: f64, weight_decay_scale: f64) -> Rule {
        Rule { r#match: pattern.into(), lr_scale, weight_decay_scale, frozen: false }
    }

    #[test]
    fn the_default_is_one_group_and_says_nothing() {
        let groups = Groups::default();
        assert!(shares(&groups, &[]).values().all(|share| *share == (1.0, 1.0)));
        assert_eq!(groups.apply(model(), &height, &[]).unwrap().notice, None);
        let spared = shares(&groups, &["loss.scale"]);
        assert_eq!(spared["loss.scale"], (1.0, 0.0));
        assert_eq!(spared.values().filter(|share| **share == (1.0, 1.0)).count(), 5);
    }

    #[test]
    fn shares_of_part_depth_and_rules_multiply() {
        let groups = Groups {
            norms_and_biases_decay: false,
            layer_decay: 0.5,
            backbone: Scales { lr_scale: 0.1, weight_decay_scale: 3.0 },
            loss: Scales { lr_scale: 2.0, weight_decay_scale: 1.0 },
            rules: [
                ("a".to_string(), rule("*.weight", 1.0, 0.5)),
                ("b".to_string(), rule("backbone.layer1.*", 10.0, 2.0)),
            ]
            .into(),
            ..Groups::default()
        };
        let expected = [
            ("backbone.layer1.0.bias", (0.5 * 0.1 * 10.0, 0.0)),
            ("backbone.layer1.0.weight", (0.5 * 0.1 * 10.0, 3.0 * 0.5 * 2.0)),
            ("backbone.stem.weight", (0.25 * 0.1, 3.0 * 0.5)),
            ("head.linear.weight", (1.0, 0.5)),
            ("loss.scale", (2.0, 0.0)),
            ("loss.weight", (2.0, 0.5)),
        ];
        for (name, (lr, weight_decay)) in expected {
            let (ours, decay) = shares(&groups, &[])[name];
            assert!((ours - lr).abs() < 1e-15 && decay == weight_decay, "{name}: {ours} {decay}");
        }
    }

    #[test]
    fn frozen_parameters_are_left_out_and_counted() {
        let mut groups = Groups { norms_and_biases_decay: false, ..Groups::default() };
        let frozen = Rule { frozen: true, ..rule("backbone.*", 1.0, 1.0) };
        groups.rules.insert("x".into(), frozen);
        let parameters = model();
        let shared = parameters.iter().map(|(name, x)| (name.clone(), x.shallow_clone()));
        let grouped = groups.apply(shared.collect(), &height, &[]).unwrap();
        let trained: Vec<&String> = grouped.members.keys().collect();
        assert_eq!(trained, ["head.linear.weight", "loss.scale", "loss.weight"]);
        for (name, parameter) in &parameters {
            assert_eq!(parameter.requires_grad(), !name.starts_with("backbone."), "{name}");
        }
        let notice = "parameter groups: lr x 1, weight decay x 1: 2 tensors, 18 values; \
                      lr x 1, weight decay x 0: 1 tensor, 1 value; \
                      frozen: 3 tensors, 128 values";
        assert_eq!(grouped.notice.as_deref(), Some(notice));

        groups.rules.insert("y".into(), Rule { frozen: true, ..rule("*", 1.0, 1.0) });
        let nothing = groups.apply(model(), &height, &[]).unwrap_err();
        assert!(nothing.message.contains("no parameter to train"), "{nothing:?}");
    }

    #[test]
    fn a_rule_for_nothing_is_answered_with_near_names() {
        for (pattern, near) in [
            ("backbone.layer2.*", "backbone.layer1.*"),
            ("layer1.*", "backbone.layer1.*"),
            ("head.linaer.weight", "head.linear.weight"),
            ("los.*", "loss.*"),
        ] {
            let rules = [("r".to_string(), rule(pattern, 1.0, 1.0))].into();
            let groups = Groups { rules, ..Groups::default() };
            let misfit = groups.apply(model(), &height, &[]).unwrap_err();
            assert_eq!(misfit.key, "groups.rules.r.match");
            assert!(misfit.message.contains(pattern), "{misfit:?}");
            assert!(misfit.help.starts_with(&format!("names near it: {near}")), "{misfit:?}");
        }
    }
}
