//! One integration at work in one session, for tests.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs, dead_code)]

use std::net::IpAddr;

use domain::{Class, Environment, TaskRef};
use orgpolicy::{Action, Agent, Binding, Outcome, Policies, Principal, RequestFacts, SessionFacts};

pub fn agent() -> Agent {
    Agent {
        tenant: "mercy".parse().unwrap(),
        integration: "scheduler-1".parse().unwrap(),
        class: Class::ClinicalAi,
        environment: Environment::Production,
    }
}

pub fn session() -> SessionFacts {
    SessionFacts {
        id: "000102030405060708090a0b0c0d0e0f".to_owned(),
        task: TaskRef { name: "scheduling".parse().unwrap(), version: 2 },
        purpose_of_use: "HOPERAT".to_owned(),
        binding: Binding::GatewayEnforced,
        bound: false,
        relationship: None,
        person: None,
        actor: Principal::default(),
    }
}

/// A Wednesday, 11 o'clock UTC.
pub fn request() -> RequestFacts {
    RequestFacts { at: 1_795_000_000_000, address: IpAddr::from([10, 1, 2, 3]) }
}

pub fn parse(text: &str) -> Policies {
    Policies::parse(text, 1).unwrap_or_else(|problems| {
        let shown: Vec<_> = problems.iter().map(ToString::to_string).collect();
        panic!("{text}\n{}", shown.join("\n"))
    })
}

pub fn decide(text: &str, agent: &Agent, session: &SessionFacts, action: &str, kind: &str) -> Outcome {
    let slice = parse(text).slice(agent).unwrap();
    slice.decide(session, action.parse::<Action>().unwrap(), kind.parse().unwrap(), &request())
}
