"""PyPI Authlib: the code flow with PKCE and private_key_jwt. Usage: pypi_authlib.py ISSUER FHIR KEY.pem"""

import sys
import time

import requests
from authlib.integrations.requests_client import OAuth2Session
from authlib.oauth2.rfc7523 import PrivateKeyJWT
from joserfc.jwk import ECKey

from pages import check, person, walk

REDIRECT = "http://127.0.0.1:9000/callback"
CLIENT = "clinician-app"


class ShortLived(PrivateKeyJWT):
    """Authlib writes assertions of an hour; SMART allows five minutes, so each says its own end."""

    def sign(self, auth, token_endpoint):
        self.claims = {"exp": int(time.time()) + 240}
        return super().sign(auth, token_endpoint)


def main():
    print("PyPI Authlib")
    issuer, fhir, key = sys.argv[1:]
    metadata = requests.get(f"{issuer}/.well-known/openid-configuration", timeout=30).json()
    with open(key, encoding="ascii") as file:
        private_key = ECKey.import_key(file.read())
    token_endpoint = metadata["token_endpoint"]
    proof = ShortLived(token_endpoint, alg="ES384", headers={"kid": private_key.thumbprint()})
    session = OAuth2Session(
        CLIENT, private_key, redirect_uri=REDIRECT, scope="launch/patient online_access patient/Patient.rs",
        code_challenge_method="S256", token_endpoint_auth_method=proof, revocation_endpoint_auth_method=proof, token_endpoint=token_endpoint,
    )
    verifier = "authlib-verifier-" + "0123456789abcdef" * 3
    url, state = session.create_authorization_url(metadata["authorization_endpoint"], code_verifier=verifier, aud=fhir)
    back = walk(url, REDIRECT, person("bob", "pat-002"))
    token = session.fetch_token(token_endpoint, authorization_response=back, state=state, code_verifier=verifier)
    check("a code by PKCE, a token by an assertion", token["token_type"].lower() == "bearer" and token["patient"] == "pat-002", token.keys())
    read = session.get(f"{fhir}/Patient/pat-002")
    check("it reads the picked patient", read.status_code == 200 and read.json()["id"] == "pat-002", read.status_code)
    check("and no other", session.get(f"{fhir}/Patient/pat-001").status_code in (403, 404))
    before = token["access_token"]
    token = session.refresh_token(token_endpoint, refresh_token=token["refresh_token"])
    check("it refreshes", token["access_token"] != before and token["patient"] == "pat-002")
    about = session.introspect_token(metadata["introspection_endpoint"], token=token["access_token"], token_type_hint="access_token")
    check("it asks about its token", about.json().get("active") is True, about.text)
    ended = session.revoke_token(metadata["revocation_endpoint"], token=token["refresh_token"], token_type_hint="refresh_token")
    late = requests.get(f"{fhir}/Patient/pat-002", headers={"Authorization": f"Bearer {token['access_token']}"}, timeout=30)
    check("it revokes", ended.status_code == 200 and late.status_code == 401, f"{ended.status_code} {ended.text} {late.status_code}")


main()
