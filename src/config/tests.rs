//! The engine on a small schema.

use super::*;

crate::config_struct! {
    /// Plain softmax.
    pub struct Plain {}
}

crate::config_struct! {
    /// Additive angular margin.
    ///
    /// Second paragraph.
    pub struct Angular {
        /// Scale of the logits.
        pub scale: f64 = 64.0, positive();
        /// Margin in radians.
        pub margin: f64 = 0.5, between(0.0, 3.0), that("other than 1", |m| *m != 1.0);
    }
}

crate::config_family! {
    /// The loss.
    pub enum Loss("loss") {
        Plain(Plain) = "plain",
        Angular(Angular) = "angular",
    }
}

crate::config_choice! {
    /// Mixed precision.
    pub enum Amp {
        /// float32
        Off = "off",
        /// bfloat16
        Bf16 = "bf16",
    }
}

crate::config_struct! {
    /// Training.
    pub struct Train {
        /// Epochs.
        pub epochs: usize = 10, at_least(1);
        pub amp: Amp = Amp::Off;
        pub r#type: String = "x".into();
    }
}

#[test]
fn macros_declare_defaults_listing_and_serialization() {
    assert_eq!(Angular::default(), Angular { scale: 64.0, margin: 0.5 });
    assert_eq!(Loss::default(), Loss::Plain(Plain {}));
    assert_eq!(Loss::Angular(Angular::default()).kind(), "angular");
    assert_eq!(Amp::Bf16.to_string(), "bf16");
    let table = Angular::table();
    assert_eq!(first_paragraph(&table.doc), "Additive angular margin.");
    assert_eq!(table.key_names(), ["scale", "margin"]);
    assert_eq!(table.keys[1].rules, ["between 0 and 3", "other than 1"]);
    assert_eq!(table.keys[0].default, toml::Value::Float(64.0));
    assert_eq!(Train::table().key_names(), ["epochs", "amp", "type"]);
    let text = toml::to_string(&Loss::Angular(Angular::default())).unwrap();
    assert_eq!(text, "kind = \"angular\"\nscale = 64.0\nmargin = 0.5\n");
}
