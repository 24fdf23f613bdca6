//! Budgets: how much an approval lets its sessions have (S1-24, S1-25). What it does not say is the class's default.

use crate::class::Class;

/// What an approval says of budgets. A number that is absent stays absent when it is written again: the hash of an approval
/// from before the number existed must not change.
#[derive(Clone, Copy, Debug, Eq, PartialEq, serde::Deserialize, serde::Serialize)]
#[serde(deny_unknown_fields)]
pub struct Budgets {
    /// Distinct patients for whom sessions may start, per integration and hour.
    pub patients_per_hour: u32,
    /// The same per day.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub patients_per_day: Option<u32>,
    /// "Foreign or absent" answers per session before 429 and an alert.
    #[serde(default = "absent_per_session")]
    pub absent_per_session: u32,
    /// Requests of one session in a minute; each entry of a Bundle is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requests_per_minute: Option<u32>,
    /// Pages of one search, the first among them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pages_per_search: Option<u32>,
    /// Bytes of released bodies in one session.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes_per_session: Option<u64>,
    /// Distinct resource types released in one session.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub types_per_session: Option<u32>,
}

fn absent_per_session() -> u32 {
    50
}

/// One budget, by the name it has in `terms.budgets`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[allow(missing_docs, reason = "the fields of `Budgets`")]
pub enum Budget {
    PatientsPerHour,
    PatientsPerDay,
    AbsentPerSession,
    RequestsPerMinute,
    PagesPerSearch,
    BytesPerSession,
    TypesPerSession,
}

impl Budget {
    /// All of them, in the order of the documentation.
    pub const ALL: [Self; 7] = [
        Self::PatientsPerHour,
        Self::PatientsPerDay,
        Self::AbsentPerSession,
        Self::RequestsPerMinute,
        Self::PagesPerSearch,
        Self::BytesPerSession,
        Self::TypesPerSession,
    ];

    /// As in manifests, on the API and in refusals.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::PatientsPerHour => "patients_per_hour",
            Self::PatientsPerDay => "patients_per_day",
            Self::AbsentPerSession => "absent_per_session",
            Self::RequestsPerMinute => "requests_per_minute",
            Self::PagesPerSearch => "pages_per_search",
            Self::BytesPerSession => "bytes_per_session",
            Self::TypesPerSession => "types_per_session",
        }
    }

    /// The largest that may be asked for.
    #[must_use]
    pub fn most(self) -> u64 {
        match self {
            // One every 36 ms is no care any more.
            Self::PatientsPerHour => 100_000,
            // Ten such hours.
            Self::PatientsPerDay => 1_000_000,
            Self::AbsentPerSession => 10_000,
            // More than a node answers.
            Self::RequestsPerMinute => 10_000_000,
            // With pages of 20, two hundred thousand matches.
            Self::PagesPerSearch => 10_000,
            // 1 TiB: more than any session can carry.
            Self::BytesPerSession => 1 << 40,
            // All types there are, and room for those of later releases.
            Self::TypesPerSession => 200,
        }
    }
}

/// The budgets that hold: the approval's, and the class's where it says nothing.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[allow(missing_docs, reason = "the fields of `Budgets`")]
pub struct Limits {
    pub patients_per_hour: u32,
    pub patients_per_day: u32,
    pub absent_per_session: u32,
    pub requests_per_minute: u32,
    pub pages_per_search: u32,
    pub bytes_per_session: u64,
    pub types_per_session: u32,
}

impl Budgets {
    /// So many patients per hour, and the class's default for all else.
    #[must_use]
    pub fn hourly(patients_per_hour: u32) -> Self {
        Self {
            patients_per_hour,
            patients_per_day: None,
            absent_per_session: absent_per_session(),
            requests_per_minute: None,
            pages_per_search: None,
            bytes_per_session: None,
            types_per_session: None,
        }
    }

    /// What it says of one budget.
    #[must_use]
    pub fn said(&self, budget: Budget) -> Option<u64> {
        match budget {
            Budget::PatientsPerHour => Some(self.patients_per_hour.into()),
            Budget::PatientsPerDay => self.patients_per_day.map(u64::from),
            Budget::AbsentPerSession => Some(self.absent_per_session.into()),
            Budget::RequestsPerMinute => self.requests_per_minute.map(u64::from),
            Budget::PagesPerSearch => self.pages_per_search.map(u64::from),
            Budget::BytesPerSession => self.bytes_per_session,
            Budget::TypesPerSession => self.types_per_session.map(u64::from),
        }
    }

    /// What holds for an integration of this class.
    #[must_use]
    pub fn limits(&self, class: Class) -> Limits {
        const MIB: u64 = 1024 * 1024;
        // Hours' worth of patients in a day, requests, pages, bytes, types: the table of `docs/budgets.md`.
        let (hours, requests, pages, bytes, types) = match class {
            Class::ClinicalAi => (10, 600, 50, 64 * MIB, 20),
            Class::ClinicianApp => (10, 600, 50, 128 * MIB, 40),
            // Bytes of one export, in as many sessions as it takes.
            Class::Analytics => (24, 1_200, 1_000, 16 * 1_024 * MIB, 40),
            Class::PatientApp => (24, 300, 100, 256 * MIB, 60),
            // Holds no FHIR scope: it asks the gate for nothing.
            Class::Launcher => (24, 60, 1, MIB, 1),
        };
        Limits {
            patients_per_hour: self.patients_per_hour,
            patients_per_day: self.patients_per_day.unwrap_or_else(|| self.patients_per_hour.saturating_mul(hours)),
            absent_per_session: self.absent_per_session,
            requests_per_minute: self.requests_per_minute.unwrap_or(requests),
            pages_per_search: self.pages_per_search.unwrap_or(pages),
            bytes_per_session: self.bytes_per_session.unwrap_or(bytes),
            types_per_session: self.types_per_session.unwrap_or(types),
        }
    }
}

#[test]
fn what_is_not_said_is_the_class_default_and_is_not_written() {
    let old = r#"{"patients_per_hour":100,"absent_per_session":50}"#;
    let read: Budgets = serde_json::from_str(old).unwrap();
    assert_eq!(read, Budgets::hourly(100));
    assert_eq!(serde_json::to_string(&read).unwrap(), old);
    assert_eq!(read.limits(Class::ClinicalAi).patients_per_day, 1_000);
    let own = Budgets { bytes_per_session: Some(7), ..read };
    assert_eq!(own.limits(Class::ClinicalAi), Limits { bytes_per_session: 7, ..read.limits(Class::ClinicalAi) });
    assert_eq!(serde_json::from_value::<Budgets>(serde_json::to_value(own).unwrap()).unwrap(), own);
    assert!(serde_json::from_str::<Budgets>(r#"{"patients_per_hour":1,"pages":1}"#).is_err());
}

#[test]
fn every_default_may_be_asked_for() {
    for class in [Class::ClinicalAi, Class::ClinicianApp, Class::Analytics, Class::PatientApp, Class::Launcher] {
        let limits = Budgets::hourly(1).limits(class);
        let said = Budgets {
            patients_per_hour: 1,
            patients_per_day: Some(limits.patients_per_day),
            absent_per_session: limits.absent_per_session,
            requests_per_minute: Some(limits.requests_per_minute),
            pages_per_search: Some(limits.pages_per_search),
            bytes_per_session: Some(limits.bytes_per_session),
            types_per_session: Some(limits.types_per_session),
        };
        for budget in Budget::ALL {
            assert!((1..=budget.most()).contains(&said.said(budget).unwrap()), "{class:?} {}", budget.name());
        }
    }
}
