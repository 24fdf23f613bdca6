//! Element paths: where in a resource something stands, as wire names without the type.

/// Wire names from the root of a resource, e.g. `["participant", "actor"]`; lists are passed through.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct ElementPath {
    /// The names, without the resource type. A choice is its concrete name: `valueQuantity`.
    pub elements: &'static [&'static str],
    /// The definition counts only references to a Patient here: `.where(resolve() is Patient)`.
    pub patient_only: bool,
}

impl ElementPath {
    /// `participant.actor`, or `agent.who?` where only a Patient counts.
    pub(crate) fn parse(text: &'static str) -> Self {
        let (dotted, patient_only) = text.strip_suffix('?').map_or((text, false), |rest| (rest, true));
        let elements: Vec<&'static str> = dotted.split('.').collect();
        Self { elements: elements.leak(), patient_only }
    }

    /// A space-separated list of paths; `-` is none.
    pub(crate) fn parse_list(text: &'static str) -> &'static [Self] {
        let paths: Vec<Self> = text.split(' ').filter(|part| *part != "-").map(Self::parse).collect();
        paths.leak()
    }
}
