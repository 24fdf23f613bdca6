//! Resource types in words: those that US Core and its users meet, by hand and in the order people look for them.

/// `(type, name, what it holds)`.
pub(super) const KINDS: [(&str, &str, &str); 58] = [
    ("Patient", "Personal details", "name, date of birth, address, telephone, language and next of kin"),
    ("Condition", "Health problems and diagnoses", "illnesses, injuries, symptoms and concerns, past and present"),
    ("AllergyIntolerance", "Allergies and intolerances", "what the patient reacts to, and how"),
    ("MedicationRequest", "Prescriptions", "medicines that were ordered or prescribed, and their doses"),
    ("MedicationStatement", "Medicines taken", "medicines the patient is known to take"),
    ("MedicationDispense", "Medicines handed out", "what a pharmacy gave, how much and when"),
    ("MedicationAdministration", "Medicines given", "doses given in the hospital or practice"),
    ("Medication", "Medicine details", "ingredients, strength and form of medicines"),
    (
        "Observation",
        "Measurements and test results",
        "laboratory values, vital signs, social history, questionnaires and other findings",
    ),
    ("DiagnosticReport", "Reports of tests and imaging", "laboratory, X-ray, pathology and other reports"),
    ("DocumentReference", "Documents and notes", "letters, discharge summaries, visit notes and scans"),
    ("Binary", "File contents", "the contents of documents and attachments"),
    ("Composition", "Structured documents", "documents made of sections, such as summaries"),
    ("Procedure", "Procedures and operations", "surgery, treatments, examinations and counselling"),
    ("Immunization", "Vaccinations", "vaccines given, refused or not given"),
    ("ImmunizationRecommendation", "Recommended vaccinations", "vaccines that are due"),
    ("ImmunizationEvaluation", "Checks of vaccinations", "whether vaccinations count for a schedule"),
    ("Encounter", "Visits and hospital stays", "when, where and why the patient was seen"),
    ("EpisodeOfCare", "Periods of care", "longer stretches of care that join several visits"),
    ("Appointment", "Appointments", "past and coming appointments, and what they are for"),
    ("AppointmentResponse", "Answers to appointments", "who accepted or declined an appointment"),
    ("CarePlan", "Care plans", "what is planned, by whom and until when"),
    ("CareTeam", "Care team", "the people who look after the patient"),
    ("Goal", "Goals", "what the patient and the care team want to reach"),
    ("ServiceRequest", "Orders and referrals", "tests, treatments and referrals that were ordered"),
    ("ImagingStudy", "Imaging studies", "which X-ray, CT, MRI or ultrasound images exist"),
    ("Media", "Photos and recordings", "photos, videos and sound taken for care"),
    ("Specimen", "Samples", "blood, tissue and other samples, and how they were taken"),
    ("Device", "Devices and implants", "implants and equipment, with their numbers"),
    ("DeviceRequest", "Orders for devices", "equipment that was ordered"),
    ("DeviceUseStatement", "Use of devices", "devices the patient is known to use"),
    ("FamilyMemberHistory", "Family history", "illnesses of relatives"),
    ("ClinicalImpression", "Clinical assessments", "what a clinician made of the findings"),
    ("RiskAssessment", "Risk assessments", "what may happen, and how likely it is"),
    ("DetectedIssue", "Detected issues", "warnings such as interactions between medicines"),
    ("AdverseEvent", "Adverse events", "harm, or what could have done harm"),
    ("Flag", "Warnings", "alerts on the record, such as risks and precautions"),
    ("NutritionOrder", "Diet orders", "diets and supplements that were ordered"),
    ("VisionPrescription", "Glasses and lenses", "prescriptions for glasses and contact lenses"),
    ("MolecularSequence", "Genetic sequences", "results of genetic tests in raw form"),
    ("QuestionnaireResponse", "Filled-in questionnaires", "answers to forms and assessments"),
    ("Questionnaire", "Blank questionnaires", "forms and their questions"),
    ("Consent", "Consents and advance directives", "what the patient agreed to or refused"),
    ("Communication", "Messages", "messages between patient, relatives and staff"),
    ("CommunicationRequest", "Requests for messages", "messages that are to be sent"),
    ("Task", "Tasks", "work that is to be done, and how far it is"),
    ("List", "Lists", "collections such as problem or medicine lists"),
    ("Coverage", "Insurance", "insurer, plan and membership number"),
    ("Claim", "Bills to the insurer", "what was billed, with diagnoses and services"),
    ("ClaimResponse", "Answers of the insurer", "what was paid or refused"),
    ("ExplanationOfBenefit", "Insurance statements", "services, diagnoses, costs and what was paid"),
    ("Account", "Billing accounts", "accounts to which costs are charged"),
    ("RelatedPerson", "Relatives and contacts", "people close to the patient, and how to reach them"),
    ("Practitioner", "Clinicians", "names and contact details of doctors, nurses and others"),
    ("PractitionerRole", "Roles of clinicians", "where clinicians work, and as what"),
    ("Organization", "Organisations", "hospitals, practices and insurers"),
    ("Location", "Places", "wards, rooms and addresses of care"),
    ("Provenance", "Origin of entries", "who wrote an entry, when, and where it came from"),
];

/// A type's name taken apart and put in the plural: `SubstanceNucleicAcid` is `Substance nucleic acids`.
pub(super) fn plain(name: &str) -> String {
    let mut out = String::with_capacity(name.len() + 8);
    for letter in name.chars() {
        if letter.is_ascii_uppercase() && !out.is_empty() {
            out.push(' ');
            out.push(letter.to_ascii_lowercase());
        } else {
            out.push(letter);
        }
    }
    let ends = |end: &str| out.ends_with(end);
    if ends("ies") || ends("Parameters") || ends("synthesis") || ends("Evidence") || ends("Basic") {
        return out.replace("synthesis", "syntheses").replace("Basic", "Basic entries");
    }
    match out.strip_suffix('y') {
        Some(stem) if !stem.ends_with(['a', 'e', 'o', 'u']) => format!("{stem}ies"),
        _ if ends("s") || ends("x") || ends("ch") => format!("{out}es"),
        _ => format!("{out}s"),
    }
}
