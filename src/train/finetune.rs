//! `[finetune]`: which part of a pretrained backbone stays as it is, and until when.

crate::config_struct! {
    /// What of the backbone does not train, and until when. Shares of the learning rate are in
    /// `[groups]`: `groups.backbone.lr_scale = 0.1` trains the head at the full rate and the backbone
    /// at a tenth of it.
    pub struct Finetune {
        /// Stages of the backbone, from the input on, that are kept as they are, and with them the
        /// stem: weights and batch-norm statistics. 0: none, not even the stem.
        pub freeze_stages: usize = 0;
        /// Epoch, counted from 1, with which the part that `backbone.frozen` or `freeze_stages` kept
        /// begins to train; 0: never.
        pub unfreeze_epoch: usize = 0;
        /// Whether batch norms of the backbone normalise by their running statistics while training
        /// too, and leave these as they are.
        pub freeze_batch_norm: bool = false;
        /// With `freeze_batch_norm`: whether weights and biases of these batch norms stay as well.
        pub freeze_batch_norm_affine: bool = false;
        /// Blocks of the backbone whose activations the backward pass computes again, at a time,
        /// instead of keeping them: less memory, up to a forward pass more time, the same bits. 1
        /// saves most in networks of few large blocks; 0: all activations are kept.
        pub gradient_checkpointing: usize = 0;
    }
}

impl Finetune {
    /// What is wrong with the values taken together: (key below `finetune`, message). `frozen`:
    /// `backbone.frozen`.
    pub fn validate(&self, frozen: bool) -> Vec<(&'static str, String)> {
        let Finetune {
            freeze_stages,
            unfreeze_epoch,
            freeze_batch_norm,
            freeze_batch_norm_affine,
            gradient_checkpointing,
        } = self;
        let mut wrong = Vec::new();
        let mut refuse = |key, message: String| wrong.push((key, message));
        if frozen && *freeze_stages > 0 {
            let message = format!(
                "is {freeze_stages}, but backbone.frozen = true keeps all stages: set one of the two"
            );
            refuse("freeze_stages", message);
        }
        if *unfreeze_epoch > 0 && !frozen && *freeze_stages == 0 {
            let message = format!(
                "is {unfreeze_epoch}, but nothing is frozen until then: set backbone.frozen = true \
                 or finetune.freeze_stages"
            );
            refuse("unfreeze_epoch", message);
        }
        if *unfreeze_epoch == 1 {
            let message = "is 1, which is the first epoch: nothing would be frozen at all; epochs \
                           are counted from 1";
            refuse("unfreeze_epoch", message.to_string());
        }
        let always = frozen && *unfreeze_epoch == 0;
        if always && *freeze_batch_norm {
            let message = "is true, but backbone.frozen = true keeps the statistics already: set one \
                           of the two";
            refuse("freeze_batch_norm", message.to_string());
        }
        if *freeze_batch_norm_affine && !freeze_batch_norm {
            let message = "is true, but needs finetune.freeze_batch_norm = true: weights alone are \
                           frozen by groups.rules";
            refuse("freeze_batch_norm_affine", message.to_string());
        }
        if always && *gradient_checkpointing > 0 {
            let message = format!(
                "is {gradient_checkpointing}, but backbone.frozen = true keeps no activations: set \
                 one of the two"
            );
            refuse("gradient_checkpointing", message);
        }
        wrong
    }
}
