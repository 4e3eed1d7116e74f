//! No text tower: the data has no captions, or they are not used.

crate::config_struct! {
    /// No text tower.
    pub struct NoText {}
}
