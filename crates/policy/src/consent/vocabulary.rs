//! As much of HL7's vocabularies as tells codes apart that have nothing to do with each other.
//!
//! Not the hierarchies themselves, which change from release to release: codes of one family may contain each other,
//! codes of two families do not, and a code that is not listed may be anything.

use super::criterion::{Coded, Match};
use crate::labels::Vocabulary;

/// R4 consentaction.
pub(super) const ACTIONS: [&str; 5] = ["collect", "access", "use", "disclose", "correct"];

/// Confidentiality in rising order.
const CONFIDENTIALITY: [&str; 6] = ["U", "L", "M", "N", "R", "V"];

/// Purposes of use by the purpose they are a case of. Left out: `CAREMGT`, `CLINTRCH` and others that have moved.
const PURPOSES: [(&str, &[&str]); 7] = [
    ("TREAT", &["ETREAT", "ERTREAT", "BTG", "COC", "TREATDS"]),
    ("HPAYMT", &["CLMATTCH", "COVAUTH", "COVERAGE", "ELIGDTRM", "ELIGVER", "ENROLLM", "REMITADV"]),
    (
        "HOPERAT",
        &[
            "FRAUD",
            "HACCRED",
            "HCOMPL",
            "HLEGAL",
            "HOUTCOMS",
            "HQUALIMP",
            "HSYSADMIN",
            "PATADMIN",
            "PATSFTY",
            "PERFMSR",
        ],
    ),
    ("HRESCH", &[]),
    ("HMARKT", &[]),
    ("PUBHLTH", &["DISASTER", "THREAT"]),
    ("PATRQT", &["FAMRQT", "PWATRNY", "SUPNWK"]),
];

/// Sensitivities (v3-ActCode) by what they are about. Left out: `TABOO`, `DEMO`, `SPI` and others that may be about
/// anything, obligations and refrains.
const SENSITIVITIES: [&[&str]; 4] = [
    &["BH", "COGN", "DVD", "EMOTDIS", "MH", "PSY", "PSYTHPN", "ETH", "ETHUD", "OPIOIDUD", "SUD"],
    &["GDIS", "SCA", "SICKLE"],
    &["HIV", "STD", "SEX", "PREGNANT"],
    &["SDV", "MST", "VIO"],
];

/// Whether `system` is consentaction, by its name of today or of STU3.
pub(super) fn is_consent_action(system: &str) -> bool {
    matches!(system, "http://terminology.hl7.org/CodeSystem/consentaction" | "http://hl7.org/fhir/consentaction")
}

/// Whether a session's purpose is within the one `named`.
pub(super) fn purpose(named: &str, session: &str) -> Match {
    let family = |code| PURPOSES.iter().find(|(head, cases)| *head == code || cases.contains(&code));
    match (family(named), family(session)) {
        _ if named == session => Match::Yes,
        (Some((head, _)), Some((other, _))) if head != other => Match::No,
        // The head of the family is the family; of the rest it is not said which contains which.
        (Some((head, _)), Some(_)) if *head == named => Match::Yes,
        _ => Match::Maybe,
    }
}

/// The vocabulary of a code; without a system, the one that is known to have it.
pub(super) fn of(system: Option<&str>, code: &str) -> Option<Vocabulary> {
    match system {
        Some(system) => Some(Vocabulary::of(system)),
        None if CONFIDENTIALITY.contains(&code) => Some(Vocabulary::Confidentiality),
        None if SENSITIVITIES.iter().any(|family| family.contains(&code)) => Some(Vocabulary::ActCode),
        None => None,
    }
}

/// Whether two labels are of different vocabularies, so that neither is more or less of the other.
pub(super) fn is_apart(named: &Coded, label: &Coded) -> bool {
    match (named.vocabulary, label.vocabulary) {
        (Some(Vocabulary::Other), Some(Vocabulary::Other)) => named.system != label.system,
        (Some(a), Some(b)) => a != b,
        _ => false,
    }
}

/// Whether `label` is within the label that a provision names.
pub(super) fn label(named: &Coded, label: &Coded) -> Match {
    let (Some(wanted), Some(code)) = (named.code.as_deref(), label.code.as_deref()) else { return Match::Maybe };
    if is_apart(named, label) {
        return Match::No;
    }
    match (named.vocabulary, label.vocabulary) {
        (Some(Vocabulary::Confidentiality), Some(_)) => confidentiality(wanted, code),
        (Some(Vocabulary::ActCode), Some(_)) => sensitivity(wanted, code),
        // Whether one code contains another, only ActReason or a system of the house could say.
        _ if wanted == code && named.vocabulary == label.vocabulary => Match::Yes,
        _ => Match::Maybe,
    }
}

/// "A high water mark" (R4 `securityLabel`): R names all that is labelled R or lower. Above the mark it is `Maybe`: who
/// denies R will not have meant to let V go.
fn confidentiality(named: &str, label: &str) -> Match {
    let level = |code| CONFIDENTIALITY.iter().position(|known| *known == code);
    match (level(named), level(label)) {
        (Some(mark), Some(level)) if level <= mark => Match::Yes,
        _ if named == label => Match::Yes,
        _ => Match::Maybe,
    }
}

fn sensitivity(named: &str, label: &str) -> Match {
    let family = |code| SENSITIVITIES.iter().position(|family| family.contains(&code));
    match (family(named), family(label)) {
        _ if named == label => Match::Yes,
        (Some(a), Some(b)) if a != b => Match::No,
        _ => Match::Maybe,
    }
}
