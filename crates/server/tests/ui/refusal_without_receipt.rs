use server::error::Refusal;
use server::gate::Answer;

fn shortcut(refusal: Refusal) -> Answer {
    Answer::refused(refusal)
}

fn main() {}
