use store::wal::Receipt;

fn shortcut() -> Receipt {
    Receipt { origin: Default::default(), index: 0, size: 1, root: [0; 32] }
}

fn main() {}
