"""Ed25519 signatures over the manifest. `cryptography` is imported only when something is signed or verified."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from calibrant.core.errors import SignatureError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey


def generate_keys(private_path: Path | str, public_path: Path | str) -> None:
    """Write a new key pair as PEM files; the private one is readable by its owner only.

    Raises
    ------
    SignatureError
        A file exists already or cannot be written, or `cryptography` is not installed.
    """
    _require_cryptography()
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    for path in (Path(private_path), Path(public_path)):
        if path.exists():
            raise SignatureError(f"{path}: expected no file there yet, got one (keys are never overwritten)")
    key = Ed25519PrivateKey.generate()
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    public = key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    _write_new(Path(private_path), private, 0o600)
    _write_new(Path(public_path), public, 0o644)


def sign(payload: bytes, private_path: Path) -> str:
    """Hexadecimal Ed25519 signature of `payload`."""
    return _private_key(private_path).sign(payload).hex()


def verify(payload: bytes, signature: str, public_path: Path, name: str) -> None:
    """Check a signature; `name` is the artifact's, for the message.

    Raises
    ------
    SignatureError
        The key cannot be read, the signature is malformed, or it does not verify.
    """
    key = _public_key(public_path)
    from cryptography.exceptions import InvalidSignature

    try:
        key.verify(bytes.fromhex(signature), payload)
    except ValueError:
        raise SignatureError(f"{name}: section 'signature': expected hexadecimal, got {signature!r:.40}") from None
    except InvalidSignature:
        raise SignatureError(f"{name}: section 'signature' does not verify with key {public_path}") from None


def _private_key(path: Path) -> Ed25519PrivateKey:
    data = _key_bytes(path)
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        key = load_pem_private_key(data, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):  # TypeError: the file is encrypted
        raise SignatureError(
            f"{path}: expected an unencrypted Ed25519 private key in PEM, got something else"
        ) from None
    if not isinstance(key, Ed25519PrivateKey):
        raise SignatureError(f"{path}: expected an Ed25519 private key, got {type(key).__name__}")
    return key


def _public_key(path: Path) -> Ed25519PublicKey:
    data = _key_bytes(path)
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    try:
        key = load_pem_public_key(data)
    except (ValueError, UnsupportedAlgorithm):
        raise SignatureError(f"{path}: expected an Ed25519 public key in PEM, got something else") from None
    if not isinstance(key, Ed25519PublicKey):
        raise SignatureError(f"{path}: expected an Ed25519 public key, got {type(key).__name__}")
    return key


def _key_bytes(path: Path) -> bytes:
    _require_cryptography()
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise SignatureError(f"{path}: key cannot be read ({error.strerror})") from None


def _write_new(path: Path, data: bytes, mode: int) -> None:
    try:
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
            file.write(data)
    except OSError as error:
        raise SignatureError(f"{path}: key cannot be written ({error.strerror})") from None


def _require_cryptography() -> None:
    try:
        import cryptography  # noqa: F401
    except ImportError:
        raise SignatureError("signing needs the package cryptography: pip install 'calibrant[sign]'") from None
