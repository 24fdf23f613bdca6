// A denial releases nothing, and an answer cannot be looked into before it is verified.
fn from_a_denial(denial: policy::Denial) -> policy::Released {
    denial.into()
}

fn without_verification(answered: policy::Answered) -> Vec<u8> {
    answered.answer.body
}

fn without_a_permit(answer: policy::UpstreamAnswer) -> policy::Released {
    policy::verify(answer, &mut |_| None)
}

fn main() {}
