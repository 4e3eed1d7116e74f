mod wandb_double;
#[test]
fn starts() {
    let d = wandb_double::Double::start();
    d.assert_clean();
}
