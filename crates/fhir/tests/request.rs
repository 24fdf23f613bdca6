//! Requests by case of the catalogue: paths, methods, formats and reads, as far as the request alone decides them.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::panic,
    missing_docs
)]

mod common;

use common::*;
use fhir::ResourceType;
use fhir::request::{Bulk, ExportOf, Interaction, InvalidKind, Method, Raw, View, read};

#[test]
fn rd_01_a_read_names_type_and_id() {
    let id = "O1".parse().unwrap();
    let expected = Interaction::Read { kind: ResourceType::OBSERVATION, id, view: View::default() };
    for target in ["/Observation/O1", "/Observation/O1?", "/%4Fbservation/%4F1", "/Observation/O1?_format=json"] {
        assert_eq!(get(target).as_ref(), Ok(&expected), "{target}");
    }
    assert_eq!(ask(Method::Head, "/Observation/O1"), Ok(expected));
    assert_eq!(get("/metadata"), Ok(Interaction::Capabilities));
    assert_eq!(get("/metadata?_format=json&_pretty=true"), Ok(Interaction::Capabilities));
}

#[test]
fn rd_35_search_parameters_mean_nothing_on_a_read() {
    refused(
        NOT_SUPPORTED,
        &[
            "/Observation/O1?subject=Patient/P2",
            "/Observation/O1?patient=P1",
            "/Observation/O1?_count=1",
            "/Patient/P1?_id=P1",
        ],
    );
    // ME-04
    refused(NOT_SUPPORTED, &["/metadata?mode=terminology", "/metadata?_elements=rest"]);
}

#[test]
fn pa_03_only_plain_segments_are_a_path() {
    refused(
        MALFORMED,
        &[
            "Observation/O1",
            "//",
            "/Observation/./O1",
            "/Observation//O1",
            "/./Observation",
            "/Observation/..",
            "/Observation/../Patient/P1",
            "/Observation/%2e",
            "/Observation/%2E%2e/Patient/P1",
            "/Observation/",
            "/Observation/O1/",
            "/Observation%2fO1",
            "/Observation/a%2fb",
            "/Observation/a%5cb",
            "/Observation;v=1/O1",
            "/Observation/O1;x",
            "/Observation/O1%3bx",
            "/Observation/%254F1",
            "/Observation/O1%00",
            "/Observation/O1%0a",
            "/Observation/%ff",
            "/Observation/%4",
            "/Observation/%zz",
            "/Observation/O1%3Fpatient=P2",
            "/Observation/O 1",
            "/Observation/é",
            "/Observation/a_b",
            "/Observation/O1,O2",
            "https://other/Observation/O1",
        ],
    );
    let long = format!("/Observation/{}", "a".repeat(2000));
    refused(InvalidKind::TooLong, &[&long]);
}

#[test]
fn pa_05_pa_08_the_first_segment_is_an_r4_type() {
    refused(
        NOT_FOUND,
        &[
            "/observation/O1",
            "/OBSERVATION",
            "/DEFAULT/Observation/O2",
            "/tenant/Observation",
            "/Metadata",
            "/_operations/export/1",
            "/SubscriptionStatus",
            "/.well-known/smart-configuration",
            "/Observation/O1/extra",
        ],
    );
    // SR-51
    refused(MALFORMED, &["/Observation,Condition?patient=P1"]);
}

/// Only the two kick-offs by GET are read; in every other form an export is told apart from what else is not offered.
#[test]
fn s1_13_an_export_is_a_kick_off_by_get_or_refused_as_one() {
    let offered = ["/Patient/$export", "/Group/x/$export", "/Group/x/%24export", "/Group/x/%24%65xport?_type=Patient"];
    for target in offered {
        let read = get(target);
        assert!(matches!(read, Ok(Interaction::Bulk(Bulk::KickOff(_)))), "{target}: {read:?}");
        for method in [Method::Head, Method::Post, Method::Put, Method::Patch, Method::Delete, Method::Other] {
            assert_eq!(ask(method, target).unwrap_err().kind, InvalidKind::Export, "{method:?} {target}");
        }
    }
    for method in [Method::Get, Method::Head, Method::Post, Method::Put, Method::Delete, Method::Other] {
        for target in [
            "/$export",
            "/%24export",
            "/%2524export",
            "/$EXPORT",
            "/Patient/$Export",
            "/Patient/P1/$export",
            "/Observation/$export",
            "/Group/$export",
            "/Group/x/$group-export",
            "/Group/x/$export/",
            "/Group/x//$export",
            "/Group/x/$export;v=1",
            "/Group/x/y/$export",
            "/$export-poll-status?_jobId=1",
        ] {
            assert_eq!(ask(method, target).unwrap_err().kind, InvalidKind::Export, "{method:?} {target}");
        }
    }
    assert_eq!(get("/Group/a_b/$export").unwrap_err().kind, InvalidKind::Export);
}

#[test]
fn a_kick_off_names_types_and_filters_and_nothing_else() {
    let kick_off = |target: &str| match get(target) {
        Ok(Interaction::Bulk(Bulk::KickOff(kick_off))) => kick_off,
        other => panic!("{target}: {other:?}"),
    };
    let plain = kick_off("/Group/G1/$export");
    assert_eq!((plain.of, plain.kinds.len(), plain.filters.len()), (ExportOf::Group("G1".parse().unwrap()), 0, 0));
    let asked = kick_off(
        "/Patient/$export?_type=Patient,Observation&_type=Condition&_type=Patient\
         &_typeFilter=Observation%3Fcategory%3Da%252Cb,Condition%3Fcode%3Dx%26category%3Dy\
         &_outputFormat=application/fhir+ndjson",
    );
    assert_eq!(asked.of, ExportOf::AllPatients);
    assert_eq!(asked.kinds, [ResourceType::CONDITION, ResourceType::OBSERVATION, ResourceType::PATIENT]);
    let filters: Vec<(&str, &str)> =
        asked.filters.iter().map(|filter| (filter.kind.name(), filter.query.as_str())).collect();
    assert_eq!(filters, [("Observation", "category=a%2Cb"), ("Condition", "code=x&category=y")]);
    refused(
        NOT_SUPPORTED,
        &[
            "/Patient/$export?_since=2020-01-01T00:00:00Z",
            "/Patient/$export?patient=P1",
            "/Patient/$export?_elements=id",
            "/Patient/$export?includeAssociatedData=LatestProvenanceResources",
            "/Patient/$export?organizeOutputBy=Patient",
            "/Patient/$export?allowPartialManifests=true",
            "/Patient/$export?_format=json",
            "/Patient/$export?_outputFormat=application/fhir+parquet",
        ],
    );
    refused(
        MALFORMED,
        &[
            "/Patient/$export?_type=",
            "/Patient/$export?_type=Nonsense",
            "/Patient/$export?_type=Patient,",
            "/Patient/$export?_typeFilter=Observation",
            "/Patient/$export?_typeFilter=Observation%3F",
            "/Patient/$export?_typeFilter=Nonsense%3Fa%3Db",
            "/Patient/$export?_type=Patient&_typeFilter=Observation%3Fcode%3Dx",
            "/Patient/$export?_outputFormat=ndjson&_outputFormat=ndjson",
        ],
    );
}

#[test]
fn jobs_are_asked_for_by_their_name_alone() {
    let job = "0123456789abcdef0123456789abcdef".to_owned();
    let at = |below: &str| format!("/$bulk/{job}{below}");
    let bulk = |bulk| Ok(Interaction::Bulk(bulk));
    assert_eq!(get(&at("")), bulk(Bulk::Status { job: job.clone() }));
    assert_eq!(get(&at("?_format=json")), bulk(Bulk::Status { job: job.clone() }));
    assert_eq!(ask(Method::Delete, &at("")), bulk(Bulk::Cancel { job: job.clone() }));
    assert_eq!(get(&at("/0")), bulk(Bulk::File { job: job.clone(), number: 0 }));
    refused(NOT_FOUND, &["/$bulk/1", "/$bulk/x/0", &at("/a"), &at("/00"), &at("/0/0")]);
    refused(MALFORMED, &[&at("/"), &at("/0/")]);
    refused(NOT_SUPPORTED, &[&at("/0?_format=json"), &at("?_count=1")]);
    refused(FORBIDDEN, &["/$bulk", "/Patient/$bulk/x"]);
    assert_eq!(ask(Method::Post, &at("")).unwrap_err().kind, InvalidKind::Method { allow: "GET, DELETE" });
    assert_eq!(ask(Method::Delete, &at("/0")).unwrap_err().kind, InvalidKind::Method { allow: "GET" });
    let path = at("/0");
    for (accept, taken) in
        [("application/fhir+ndjson", true), ("*/*", true), ("application/json", false), ("text/html", false)]
    {
        let raw = Raw { accept: Some(accept), ..Raw::plain(Method::Get, &path, None) };
        assert_eq!(read(&raw).is_ok(), taken, "{accept}");
    }
}

#[test]
fn operations_wide_histories_and_other_compartments_are_forbidden() {
    let operations = [
        "/Group/G12/$everything",
        "/Patient/P1/$Everything",
        "/Patient/$everything",
        "/Encounter/E1/$everything",
        "/Observation/$Lastn",
        "/Observation/O2/$validate",
        "/ValueSet/$expand",
        "/Patient/$match",
        "/$member-match",
        "/Composition/x/$document",
        "/Patient/P1/$everything/x",
        "/$graphql",
        "/Patient/P1/$graphql",
    ];
    for method in [Method::Get, Method::Head, Method::Post, Method::Delete, Method::Other] {
        for target in operations {
            assert_eq!(ask(method, target).unwrap_err().kind, FORBIDDEN, "{target}");
        }
    }
    for method in [Method::Post, Method::Put, Method::Delete] {
        for target in ["/Patient/P1/$everything", "/Observation/$lastn"] {
            assert_eq!(ask(method, target).unwrap_err().kind, FORBIDDEN, "{method:?} {target}");
        }
    }
    refused(
        FORBIDDEN,
        &[
            "/_history",
            "/Observation/_history",
            "/Observation/_history?patient=P1",
            "/Patient/_history?_id=P1",
            "/Patient/P1/*",
            "/Encounter/E2/Observation?patient=P1",
            "/Practitioner/PRA/Observation?patient=P1",
            "/Device/DV/Observation",
            "/RelatedPerson/RP1/Patient",
            "/Binary",
            "/Binary/BX/_history",
            "/Patient/P1/Binary",
            "",
            "/",
            "/?_type=Observation,Condition",
        ],
    );
    // VR-18
    refused(MALFORMED, &["/Observation/O1/_history/1/x", "/Observation/O1/_history/,"]);
    refused(NOT_FOUND, &["/Patient/P1/Observation/O1", "/Patient/P1/nonsense"]);
}

#[test]
fn instances_versions_and_compartments_are_read() {
    let id = |text: &str| text.parse::<fhir::Id>().unwrap();
    let kind = ResourceType::OBSERVATION;
    assert_eq!(
        get("/Observation/O1/_history/2"),
        Ok(Interaction::Vread { kind, id: id("O1"), version: id("2"), view: View::default() })
    );
    let Ok(Interaction::History(history)) = get("/Observation/O1/_history?_count=5&_since=2020-01-01T00:00:00Z") else {
        panic!()
    };
    assert_eq!((history.count, history.since.as_deref()), (Some(5), Some("2020-01-01T00:00:00Z")));
    refused(NOT_SUPPORTED, &["/Observation/O1/_history?patient=P1", "/Observation/O1/_history?_at=2020"]);
    refused(MALFORMED, &["/Observation/O1/_history?_since=now", "/Observation/O1/_history?_count=x"]);
    let found = search("/Patient/P1/Observation?code=1");
    assert_eq!((found.compartment, found.kind), (Some(id("P1")), kind));
    let Ok(Interaction::Everything(everything)) = get("/Patient/P1/$everything?_type=Observation,Condition&start=2020")
    else {
        panic!()
    };
    assert_eq!(everything.kinds, [ResourceType::CONDITION, kind]);
    refused(NOT_SUPPORTED, &["/Patient/P1/$everything?patient=P2", "/Patient/P1/$everything?_typeFilter=x"]);
    refused(MALFORMED, &["/Patient/P1/$everything?_type=Nonsense", "/Patient/P1/$everything?start=x"]);
    assert_eq!(search("/Observation/$lastn?category=vital-signs&max=3").asked, fhir::request::Asked::LastN(3));
    refused(NOT_SUPPORTED, &["/Observation/$lastn?_sort=date", "/Observation/$lastn?_include=Observation:subject"]);
    refused(MALFORMED, &["/Observation/$lastn?max=0", "/Observation/$lastn?max=1000"]);
    let binary = |raw, proof: Option<&str>| {
        Ok(Interaction::Binary { id: id("B1"), proof: proof.map(str::to_owned), raw, view: View::default() })
    };
    assert_eq!(get("/Binary/B1"), binary(true, None));
    assert_eq!(get("/Binary/B1?_hilum=aB-_"), binary(true, Some("aB-_")));
    let json = Raw { accept: Some("application/fhir+json"), ..Raw::plain(Method::Get, "/Binary/B1", None) };
    assert_eq!(read(&json), binary(false, None));
    refused(MALFORMED, &["/Binary/B1?_hilum=a.b", "/Binary/B1?_hilum=a&_hilum=b"]);
    refused(NOT_SUPPORTED, &["/Binary/B1?patient=P1"]);
}

#[test]
fn methods_are_answered_by_place() {
    let allowed = |allow| InvalidKind::Method { allow };
    let (reads, instance) = (allowed("GET, HEAD"), allowed("GET, HEAD, PUT, PATCH, DELETE"));
    for (method, target, kind) in [
        (Method::Put, "/Observation", allowed("GET, HEAD, POST")),
        (Method::Patch, "/Observation", allowed("GET, HEAD, POST")),
        (Method::Put, "/Observation?subject=P1", FORBIDDEN),
        (Method::Patch, "/Observation?subject=P1", FORBIDDEN), // WR-27
        (Method::Delete, "/Observation?patient=P1", FORBIDDEN), // WR-36
        (Method::Delete, "/Observation", FORBIDDEN),           // WR-37
        (Method::Post, "/Observation/O9", instance),           // WR-12
        (Method::Other, "/Observation/O1", instance),
        (Method::Put, "/Observation/_search", allowed("POST")), // PS-14
        (Method::Post, "/Observation/O1/_history/1", reads),    // VR-20
        (Method::Get, "/Observation/_search?patient=P2", NOT_FOUND), // PS-13
        (Method::Get, "/_search", NOT_FOUND),
        (Method::Post, "/_search", FORBIDDEN),                   // PS-11
        (Method::Delete, "/Observation/O1/_history", FORBIDDEN), // WR-33
        (Method::Delete, "/Observation/O1/_history/1", FORBIDDEN),
        (Method::Put, "/observation/O1", NOT_FOUND),
        (Method::Post, "/metadata", reads),
        (Method::Put, "/", allowed("POST")),
        (Method::Post, "/Patient/P1/Observation", reads),
        (Method::Post, "/Observation?_method=DELETE", NOT_SUPPORTED),
        (Method::Delete, "/Observation/O1?_expunge=true", NOT_SUPPORTED), // WR-33
    ] {
        assert_eq!(ask(method, target).unwrap_err().kind, kind, "{method:?} {target}");
    }
    // HD-02
    refused(NOT_SUPPORTED, &["/Observation?_method=DELETE", "/Observation/O1?_method=PUT"]);
}

#[test]
fn sr_54_a_get_has_no_body() {
    let body = Some(fhir::request::Body { media: None, bytes: b"" });
    let raw = Raw { body, ..Raw::plain(Method::Get, "/Observation", Some("patient=P1")) };
    assert_eq!(read(&raw).unwrap_err().kind, MALFORMED);
}

#[test]
fn fm_01_fm_02_fm_03_json_is_the_only_format() {
    refused(
        NOT_ACCEPTABLE,
        &[
            "/Observation/O1?_format=xml",
            "/Observation?_format=html",
            "/Observation?_format=ndjson",
            "/Observation?_format=ttl",
            "/Observation?_format=application/fhir%2Bxml",
            "/Observation?_format=application/fhir%2Bjson%3Bx",
            "/Observation?_format=JSON",
        ],
    );
    refused(
        MALFORMED,
        &["/Observation?_format=json&_format=application/json", "/Observation?_format=json&_format=json"],
    );
    refused(NOT_ACCEPTABLE, &["/Observation?_format=json&_format=xml"]);
    for (accept, format, fits) in [
        ("", "", true),
        ("*/*", "", true),
        ("application/fhir+json", "_format=application/fhir+json", true),
        ("application/json;charset=utf-8", "", true),
        ("application/fhir+json; fhirVersion=4.0", "", true),
        ("application/fhir+json; fhirVersion=3.0", "", false),
        ("text/html,application/xhtml+xml,*/*;q=0.8", "", true),
        ("application/fhir+xml, application/fhir+json;q=0.5", "", true),
        ("application/fhir+xml", "", false),
        ("application/fhir+xml", "_format=json", false),
        ("text/html", "", false),
        ("application/json;q=0", "", false),
        ("application/pdf", "", false),
    ] {
        let raw = Raw { accept: Some(accept), ..Raw::plain(Method::Get, "/Observation", Some(format)) };
        assert_eq!(read(&raw).is_ok(), fits, "Accept: {accept}, {format}");
    }
}

#[test]
fn pg_01_a_page_link_is_followed_as_it_is() {
    let page = Interaction::Page { kind: ResourceType::OBSERVATION, token: "aB-_9".to_owned() };
    assert_eq!(get("/Observation?_hilum=aB-_9"), Ok(page));
    refused(
        MALFORMED,
        &[
            "/Observation?_hilum=a&patient=P1",
            "/Observation?_hilum=a&_hilum=b",
            "/Observation?_hilum=a.b",
            "/Observation?_count=5&_hilum=a",
        ],
    );
    refused(NOT_SUPPORTED, &["/Observation/O1?_hilum=a", "/metadata?_hilum=a"]);
}

#[test]
fn limits_hold() {
    let many: Vec<String> = (0..200).map(|n| format!("code={n}")).collect();
    refused(InvalidKind::TooLong, &[&format!("/Observation?{}", many.join("&"))]);
    refused(InvalidKind::TooLong, &[&format!("/Observation?code={}", "a".repeat(9000))]);
    let values: Vec<String> = (0..200).map(|n| n.to_string()).collect();
    refused(MALFORMED, &[&format!("/Observation?code={}", values.join(","))]);
}

#[test]
fn nothing_of_a_value_is_in_debug_output() {
    let shown = format!("{:?} {:?}", search("/Patient?name=Secret&_id=P77"), get("/Patient/P77"));
    assert!(!shown.contains("Secret") && !shown.contains("P77"), "{shown}");
    let shown = format!("{:?}", get("/Patient?Secret=1").unwrap_err());
    assert!(!shown.contains("Secret"), "{shown}");
}
