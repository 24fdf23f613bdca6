//! Names, places and codes the generator draws from. The people are invented; codes are SNOMED CT, ICD-10-CM, LOINC, RxNorm.

pub(super) const WOMEN: [&str; 24] = [
    "Amara",
    "Beatriz",
    "Chloe",
    "Daniela",
    "Elif",
    "Fatima",
    "Grace",
    "Hana",
    "Ingrid",
    "Jasmine",
    "Kavya",
    "Leila",
    "Mei",
    "Nadia",
    "Olivia",
    "Priya",
    "Quinn",
    "Rosa",
    "Sofia",
    "Tamsin",
    "Uma",
    "Valentina",
    "Wanjiru",
    "Yuki",
];
pub(super) const MEN: [&str; 24] = [
    "Adebayo", "Bruno", "Carlos", "Dmitri", "Emre", "Felix", "Gabriel", "Hiroshi", "Ivan", "Jamal", "Kenji", "Liam",
    "Mateo", "Noah", "Omar", "Pavel", "Quentin", "Ravi", "Samuel", "Tariq", "Umberto", "Viktor", "William", "Zane",
];
pub(super) const FAMILIES: [&str; 32] = [
    "Alvarez",
    "Bianchi",
    "Chen",
    "Dlamini",
    "Eriksson",
    "Fernandez",
    "Gupta",
    "Haddad",
    "Ivanova",
    "Johansson",
    "Kowalski",
    "Larsen",
    "Mbeki",
    "Nakamura",
    "O'Connor",
    "Papadopoulos",
    "Quispe",
    "Rahman",
    "Silva",
    "Tanaka",
    "Underwood",
    "Vargas",
    "Weber",
    "Xu",
    "Yilmaz",
    "Zhang",
    "Abdi",
    "Brooks",
    "Castillo",
    "Demir",
    "Ellis",
    "Foster",
];
pub(super) const STREETS: [&str; 12] = [
    "Alder Street",
    "Birch Lane",
    "Canal Road",
    "Dock Street",
    "Elm Avenue",
    "Foundry Way",
    "Garden Terrace",
    "Harbour Road",
    "Juniper Court",
    "Kiln Lane",
    "Linden Avenue",
    "Mill Road",
];
pub(super) const CITIES: [(&str, &str, &str); 6] = [
    ("Fairview", "MA", "01999"),
    ("Northfield", "MA", "01998"),
    ("Riverton", "NH", "03999"),
    ("Easton Falls", "MA", "01997"),
    ("Lakeside", "VT", "05999"),
    ("Milbrook", "NH", "03998"),
];
/// SNOMED CT code, text, ICD-10-CM code.
pub(super) const CONDITIONS: [(&str, &str, &str); 14] = [
    ("38341003", "Hypertensive disorder", "I10"),
    ("44054006", "Diabetes mellitus type 2", "E11.9"),
    ("195967001", "Asthma", "J45.909"),
    ("55822004", "Hyperlipidemia", "E78.5"),
    ("35489007", "Depressive disorder", "F32.A"),
    ("396275006", "Osteoarthritis", "M19.90"),
    ("235595009", "Gastroesophageal reflux disease", "K21.9"),
    ("40930008", "Hypothyroidism", "E03.9"),
    ("37796009", "Migraine", "G43.909"),
    ("13645005", "Chronic obstructive lung disease", "J44.9"),
    ("49436004", "Atrial fibrillation", "I48.91"),
    ("709044004", "Chronic kidney disease", "N18.9"),
    ("271737000", "Anemia", "D64.9"),
    ("197480006", "Anxiety disorder", "F41.9"),
];
/// LOINC code, text, unit, low, high (in tenths).
pub(super) const VITALS: [(&str, &str, &str, i64, i64); 6] = [
    ("8867-4", "Heart rate", "/min", 560, 980),
    ("9279-1", "Respiratory rate", "/min", 120, 200),
    ("8310-5", "Body temperature", "Cel", 362, 379),
    ("29463-7", "Body weight", "kg", 480, 1120),
    ("8302-2", "Body height", "cm", 1500, 1930),
    ("59408-5", "Oxygen saturation by pulse oximetry", "%", 940, 1000),
];
/// LOINC code, text, unit, low, high (in tenths).
pub(super) const LABS: [(&str, &str, &str, i64, i64); 8] = [
    ("2345-7", "Glucose [Mass/volume] in Serum or Plasma", "mg/dL", 700, 1900),
    ("4548-4", "Hemoglobin A1c/Hemoglobin.total in Blood", "%", 48, 94),
    ("2160-0", "Creatinine [Mass/volume] in Serum or Plasma", "mg/dL", 6, 16),
    ("2093-3", "Cholesterol [Mass/volume] in Serum or Plasma", "mg/dL", 1400, 2600),
    ("718-7", "Hemoglobin [Mass/volume] in Blood", "g/dL", 108, 168),
    ("2823-3", "Potassium [Moles/volume] in Serum or Plasma", "mmol/L", 34, 52),
    ("3016-3", "Thyrotropin [Units/volume] in Serum or Plasma", "m[IU]/L", 4, 62),
    ("6690-2", "Leukocytes [#/volume] in Blood by Automated count", "10*3/uL", 38, 118),
];
/// RxNorm code, text, dosage.
pub(super) const MEDICATIONS: [(&str, &str, &str); 10] = [
    ("314076", "lisinopril 10 MG Oral Tablet", "one tablet daily"),
    ("860975", "metformin hydrochloride 500 MG Extended Release Oral Tablet", "one tablet twice daily with meals"),
    ("617312", "atorvastatin 20 MG Oral Tablet", "one tablet at night"),
    ("745679", "albuterol 90 MCG/ACTUAT Metered Dose Inhaler", "two puffs when needed"),
    ("966224", "levothyroxine sodium 0.05 MG Oral Tablet", "one tablet before breakfast"),
    ("198051", "omeprazole 20 MG Delayed Release Oral Capsule", "one capsule daily"),
    ("312938", "sertraline 50 MG Oral Tablet", "one tablet daily"),
    ("855332", "warfarin sodium 5 MG Oral Tablet", "as directed by the clinic"),
    ("313782", "acetaminophen 325 MG Oral Tablet", "two tablets when needed"),
    ("197361", "amlodipine 5 MG Oral Tablet", "one tablet daily"),
];
/// SNOMED CT code, text, category, criticality.
pub(super) const ALLERGIES: [(&str, &str, &str, &str); 7] = [
    ("91936005", "Allergy to penicillin", "medication", "high"),
    ("91935009", "Allergy to peanut", "food", "high"),
    ("232350006", "House dust mite allergy", "environment", "low"),
    ("418689008", "Allergy to grass pollen", "environment", "low"),
    ("300913006", "Shellfish allergy", "food", "high"),
    ("294499007", "Allergy to ibuprofen", "medication", "low"),
    ("1003755004", "Allergy to latex", "environment", "high"),
];
/// SNOMED CT code and text of a specialty.
pub(super) const SPECIALTIES: [(&str, &str); 5] = [
    ("394814009", "General practice"),
    ("394579002", "Cardiology"),
    ("394583002", "Endocrinology"),
    ("394587001", "Psychiatry"),
    ("394609007", "General surgery"),
];
/// SNOMED CT code and text of what an appointment is for.
pub(super) const SERVICES: [(&str, &str); 5] = [
    ("390906007", "Follow-up encounter"),
    ("185349003", "Encounter for check up"),
    ("281036007", "Follow-up consultation"),
    ("410620009", "Well child visit"),
    ("424441002", "Prenatal initial visit"),
];
