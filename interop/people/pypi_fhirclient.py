"""PyPI fhirclient starts with a person, on its own and launched by the EHR. Usage: pypi_fhirclient.py LAUNCH_PAGE FHIR KEY.pem

On its own it is the library as it is. It knows no `private_key_jwt` for codes, so the app with a key adds its assertion where the
library makes the parameters: nothing else of it is changed.
"""

import secrets
import sys
import time
import urllib.parse

import requests
from fhirclient import client as smart
from fhirclient.auth import FHIRAuth, FHIROAuth2Auth
from fhirclient.models.observation import Observation
from joserfc import jwt
from joserfc.jwk import ECKey

from pages import check, person, walk

APP = "http://127.0.0.1:9000"
REDIRECT = f"{APP}/callback"
READS = "patient/Patient.rs patient/Observation.rs"


class WithKey(FHIROAuth2Auth):
    """The library's OAuth, of a client that has a key."""

    key = None

    def proved(self, params):
        now = int(time.time())
        claims = {"iss": self.app_id, "sub": self.app_id, "aud": self._token_uri, "jti": secrets.token_urlsafe(24), "iat": now, "exp": now + 240}
        header = {"alg": "ES384", "kid": self.key.thumbprint()}
        params["client_assertion_type"] = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
        return {**params, "client_assertion": jwt.encode(header, claims, self.key, algorithms=["ES384"])}

    def _code_exchange_params(self, code):
        return self.proved(super()._code_exchange_params(code))

    def _reauthorize_params(self):
        return self.proved(super()._reauthorize_params())


def used(app, patient):
    """What an app does with its session, and that another patient is not in it."""
    check("it reads the patient as a model", app.patient.id == patient)
    found = [one for one in Observation.where({"patient": patient}).perform_resources(app.server) if one.resource_type == "Observation"]
    check("it searches, all of that patient", found and {one.subject.reference for one in found} == {f"Patient/{patient}"})
    before = app.server.auth.access_token
    check("it refreshes", app.reauthorize() and app.server.auth.access_token != before)
    check("and reads again", app.server.request_json(f"Patient/{patient}")["id"] == patient)


def alone(fhir):
    print("PyPI fhirclient, on its own")
    settings = {"app_id": "patient-app", "api_base": fhir, "redirect_uri": REDIRECT, "scope": f"openid fhirUser offline_access {READS}"}
    app = smart.FHIRClient(settings=settings)
    check("/metadata leads it to the authorize page", not app.prepare() and "code_challenge" in app.authorize_url)
    app.handle_callback(walk(app.authorize_url, REDIRECT, person("alice")))
    used(app, "pat-001")
    try:
        app.server.request_json("Patient/pat-002")
    except Exception as refused:  # the library has a class for some statuses only
        check("another patient is not to be had", getattr(refused, "response", refused.args[0]).status_code in (403, 404), repr(refused))
    else:
        check("another patient is not to be had", False)


def launched(page, key):
    print("PyPI fhirclient, launched by the EHR")
    with open(key, encoding="ascii") as file:
        WithKey.key = ECKey.import_key(file.read())
    FHIRAuth.auth_classes["oauth2"] = WithKey
    browser = requests.Session()
    says = [
        ({"encounter"}, {"encounter": ""}),
        ({"client_id", "patient"}, {"client_id": "clinician-app", "practitioner": "prac-01", "patient": "pat-001"}),
    ]
    opened = urllib.parse.parse_qs(urllib.parse.urlsplit(walk(page, f"{APP}/launch", says, browser)).query)
    settings = {
        "app_id": "clinician-app", "api_base": opened["iss"][0], "redirect_uri": REDIRECT, "launch_token": opened["launch"][0],
        "scope": f"openid fhirUser online_access {READS}",
    }
    app = smart.FHIRClient(settings=settings)
    app.prepare()
    app.handle_callback(walk(app.authorize_url, REDIRECT, person("nobody"), browser))
    check("the EHR's patient is the app's", app.launch_context["patient"] == "pat-001", app.launch_context)
    used(app, "pat-001")


def main():
    page, fhir, key = sys.argv[1:]
    alone(fhir)
    launched(page, key)


main()
