// None of the links can be made outside the crate.
fn answered(answer: policy::UpstreamAnswer) -> policy::Answered {
    policy::Answered { answer }
}

fn main() {
    let _ = policy::Permit;
    let _ = policy::Released { status: 200, body: Vec::new() };
    let _ = policy::Released::default();
    let _ = policy::PageCursor { scope: String::new() };
}
