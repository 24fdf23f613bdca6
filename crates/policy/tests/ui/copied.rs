// A permit is one call, an answer is verified once.
fn twice(permit: policy::Permit) -> (policy::Permit, policy::Permit) {
    (permit.clone(), permit)
}

fn answered_twice(permit: policy::Permit, one: policy::UpstreamAnswer, two: policy::UpstreamAnswer) {
    let _ = permit.answered(one);
    let _ = permit.answered(two);
}

fn verified_twice(answered: policy::Answered) {
    let _ = policy::verify(answered, &mut |_| None);
    let _ = policy::verify(answered, &mut |_| None);
}

fn main() {}
