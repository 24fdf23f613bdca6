use policy::Released;
use server::audit::Recorded;
use store::wal::Receipt;

fn shortcut(released: Released, receipt: Receipt) -> Recorded {
    Recorded { released, receipt }
}

fn main() {}
