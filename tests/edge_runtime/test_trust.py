"""A device that trusts a key opens what it signed, and nothing else, byte for byte."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from edge_runtime import Bundle
from edge_runtime.archive import pack_bundle
from edge_runtime.errors import BundleError, TrustError
from edge_runtime.trust.encryption import encrypt_bundle, identity_file, recipients_of
from edge_runtime.trust.keys import trusted_keys
from edge_runtime.trust.signature import SIGNATURE_NAME, check_signature, sign_folder


def make_key(folder: Path, name: str, password: bytes | None = None) -> Path:
    """NAME.key, and NAME.pem with the public half."""
    key = ec.generate_private_key(ec.SECP256R1())
    kept: serialization.KeySerializationEncryption = (
        serialization.BestAvailableEncryption(password)
        if password
        else serialization.NoEncryption()
    )
    pem, public = serialization.Encoding.PEM, key.public_key()
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, kept)
    (folder / f"{name}.key").write_bytes(private)
    (folder / f"{name}.pem").write_bytes(
        public.public_bytes(pem, serialization.PublicFormat.SubjectPublicKeyInfo)
    )
    return folder / f"{name}.key"


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    """A folder with the keys `ours` and `theirs`."""
    folder = tmp_path / "keys"
    folder.mkdir()
    for name in ("ours", "theirs"):
        make_key(folder, name)
    return folder


@pytest.fixture
def signed(colour_bundle: Path, keys: Path) -> Path:
    sign_folder(colour_bundle, keys / "ours.key")
    return colour_bundle


def test_what_the_trusted_key_signed_is_opened(signed: Path, keys: Path):
    bundle = Bundle.open(signed, signed_by=[keys / "theirs.pem", keys / "ours.pem"])
    bundle.check_files()
    hashes = check_signature(signed, [keys / "ours.pem"], "colours")
    assert set(hashes) == {entry.path for entry in bundle.manifest.files} | {
        "bundle.json",
        "bundle.sha256",
    }


def test_by_a_relative_path(
    colour_bundle: Path, keys: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    monkeypatch.chdir(colour_bundle.parent)
    bundle = Path(colour_bundle.name)
    assert sign_folder(bundle, keys / "ours.key") == bundle / SIGNATURE_NAME
    assert Bundle.open(bundle, signed_by=[keys / "ours.pem"]).path == bundle
    monkeypatch.chdir(bundle)
    Bundle.open(".", signed_by=[keys / "ours.pem"])
    (tmp_path / "link").symlink_to(colour_bundle)
    Bundle.open(tmp_path / "link", signed_by=[keys / "ours.pem"])


def test_the_folders_name_is_not_signed_and_a_zip_is_as_good(signed: Path, keys: Path):
    moved = signed.with_name("renamed.bundle")
    signed.rename(moved)
    Bundle.open(moved, signed_by=[keys / "ours.pem"])
    pack_bundle(moved, moved.with_suffix(".zip"))
    assert Bundle.open(moved.with_suffix(".zip"), signed_by=[keys / "ours.pem"]).name == "colours"


def test_any_byte_of_any_file_altered_is_refused(signed: Path, keys: Path):
    for file in sorted(signed.rglob("*")):
        if not file.is_file() or file.name == SIGNATURE_NAME:
            continue
        data = file.read_bytes()
        for place in (0, len(data) // 2, len(data) - 1):
            file.write_bytes(data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :])
            with pytest.raises(BundleError, match="its signature is not one that is trusted here"):
                Bundle.open(signed, signed_by=[keys / "ours.pem"])
        file.write_bytes(data)
    Bundle.open(signed, signed_by=[keys / "ours.pem"])


def test_a_signature_altered_anywhere_is_refused_or_says_the_same(signed: Path, keys: Path):
    file = signed / SIGNATURE_NAME
    data = file.read_bytes()
    refused = 0
    for place in range(0, len(data), 37):
        file.write_bytes(data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :])
        try:
            hashes = check_signature(signed, [keys / "ours.pem"], "colours")
            assert len(hashes) == 7  # a byte that means nothing, such as a space
        except BundleError:
            refused += 1
    assert refused > len(data) / 37 * 0.9


@pytest.mark.parametrize(
    ("alter", "message"),
    [
        (lambda b: (b / SIGNATURE_NAME).unlink(), "is not signed, and this device opens only what"),
        (lambda b: (b / "more.txt").write_text("x"), "Extra files found"),
        (lambda b: (b / "golden/more.txt").write_text("x"), "Extra files found"),
        (lambda b: (b / ".git").write_text("x"), "Extra files found"),
        (lambda b: (b / "golden/model.sig").write_text("x"), "Extra files found"),
        (
            lambda b: (b / "models/float32.tflite").rename(b / "models/other.tflite"),
            "Extra files found|Missing files",
        ),
        (lambda b: (b / "golden/frames/0.png").unlink(), "Missing files"),
        (lambda b: (b / "link").symlink_to("/etc/passwd"), "link is no plain file; not opened"),
        (lambda b: os.mkfifo(b / "pipe"), "pipe is no plain file; not opened"),
        (lambda b: (b / SIGNATURE_NAME).write_text("{}"), "is not one that is trusted here"),
        (lambda b: (b / SIGNATURE_NAME).write_bytes(b"\xff" * 99), "is not one that is trusted"),
        (lambda b: (b / SIGNATURE_NAME).write_bytes(b" " * (5 << 20)), "larger than any signature"),
    ],
)
def test_what_is_not_whole_is_refused(
    alter: Callable[[Path], object], message: str, signed: Path, keys: Path
):
    alter(signed)
    with pytest.raises(BundleError, match=message):
        Bundle.open(signed, signed_by=[keys / "ours.pem"])


def test_a_file_that_was_signed_and_is_none_of_the_bundles(colour_bundle: Path, keys: Path):
    """As another program may sign it: what no manifest lists has no business on a device."""
    (colour_bundle / "more.txt").write_text("x")
    sign_folder(colour_bundle, keys / "ours.key")
    with pytest.raises(BundleError, match=r"more\.txt was signed, and is no part of the bundle"):
        Bundle.open(colour_bundle, signed_by=[keys / "ours.pem"])


@pytest.mark.parametrize("command", ["sign", "encrypt"])
def test_what_is_no_part_of_a_bundle_is_not_passed_on(
    command: str, colour_bundle: Path, keys: Path
):
    with_what = {"sign": ["--key", keys / "ours.key"], "encrypt": ["--to", f"age1{'q' * 58}"]}

    def run() -> str:
        line = [sys.executable, "-m", "edgeproof", command, colour_bundle, *with_what[command]]
        done = subprocess.run(
            line, capture_output=True, text=True, cwd=Path(__file__).parents[2], check=False
        )
        assert done.returncode == 1 or command == "sign"
        return done.stderr

    for name in ("golden/notes\x1b.txt", "link"):
        file = colour_bundle / name
        file.symlink_to("/etc") if name == "link" else file.write_text("of my own")
        shown = name.replace("\x1b", "\ufffd")
        assert f"{shown} is no part of the bundle; take it away.\n" in run()
        file.unlink()
    assert "no part of the bundle" not in run()


def test_signed_by_another(signed: Path, keys: Path):
    with pytest.raises(
        BundleError, match=r"trusted here: by theirs\.pem: signed by another key\.$"
    ):
        Bundle.open(signed, signed_by=[keys / "theirs.pem"])


def test_a_bundle_swapped_under_a_true_signature_of_another_bundle(
    signed: Path, keys: Path, tmp_path: Path
):
    other = tmp_path / "other.bundle"
    shutil.copytree(signed, other)
    (other / "golden/frames/0.png").write_bytes(b"another")
    sign_folder(other, keys / "ours.key")
    shutil.copy(other / SIGNATURE_NAME, signed / SIGNATURE_NAME)
    with pytest.raises(BundleError, match=r"Hash mismatch for 'golden/frames/0\.png'"):
        Bundle.open(signed, signed_by=[keys / "ours.pem"])


def test_nothing_is_parsed_before_the_signature_is_right(
    signed: Path, keys: Path, monkeypatch: pytest.MonkeyPatch
):
    def must_not(*_: object, **__: object) -> None:
        pytest.fail("parsed")

    monkeypatch.setattr("edge_runtime.bundle.parse_manifest", must_not)
    with pytest.raises(BundleError, match="signed by another key"):
        Bundle.open(signed, signed_by=[keys / "theirs.pem"])


def test_keys_with_a_password_and_keys_that_cannot_sign(colour_bundle: Path, tmp_path: Path):
    key = make_key(tmp_path, "locked", b"secret")
    sign_folder(colour_bundle, key, password="secret")
    Bundle.open(colour_bundle, signed_by=[tmp_path / "locked.pem"])
    for password in ("wrong", None):
        with pytest.raises(TrustError, match=r"locked\.key: cannot sign: ") as caught:
            sign_folder(colour_bundle, key, password=password)
        assert "wrong" not in str(caught.value)
    with pytest.raises(TrustError, match=r"absent\.key: cannot be read: No such file"):
        sign_folder(colour_bundle, tmp_path / "absent.key")


def test_certificates_of_an_authority(colour_bundle: Path, tmp_path: Path):
    authority, leaf, chain = issue(tmp_path)
    sign_folder(colour_bundle, leaf / "key.pem", certificate=leaf / "cert.pem", chain=chain)
    Bundle.open(colour_bundle, signed_by=[authority])
    other = tmp_path / "other"
    other.mkdir()
    stranger, _, _ = issue(other)
    with pytest.raises(BundleError, match="its signature is not one that is trusted here"):
        Bundle.open(colour_bundle, signed_by=[stranger])


def issue(folder: Path) -> tuple[Path, Path, list[Path]]:
    """An authority's certificate, and a folder with a key and a certificate of its making."""
    config = folder / "openssl.cnf"
    config.write_text(
        "[req]\ndistinguished_name=dn\n[dn]\n[ca]\nbasicConstraints=critical,CA:true\n"
        "keyUsage=critical,keyCertSign\nsubjectKeyIdentifier=hash\n"
        "[leaf]\nkeyUsage=critical,digitalSignature\nextendedKeyUsage=codeSigning\n"
        "basicConstraints=critical,CA:false\nsubjectKeyIdentifier=hash\n"
        "authorityKeyIdentifier=keyid\n"
    )
    script = (
        "openssl ecparam -name prime256v1 -genkey -noout -out ca.key && "
        "openssl req -x509 -new -key ca.key -subj /CN=ca -days 9 -config openssl.cnf "
        "-extensions ca -out ca.pem && "
        "openssl ecparam -name prime256v1 -genkey -noout -out key.pem && "
        "openssl req -new -key key.pem -subj /CN=leaf -config openssl.cnf -out leaf.csr && "
        "openssl x509 -req -in leaf.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 9 "
        "-extfile openssl.cnf -extensions leaf -out cert.pem"
    )
    done = subprocess.run(script, shell=True, cwd=folder, capture_output=True, text=True)
    if done.returncode == 127:
        pytest.skip("openssl is absent")
    assert done.returncode == 0, done.stderr
    return folder / "ca.pem", folder, [folder / "ca.pem"]


class TestWhomADeviceTrusts:
    @pytest.fixture(autouse=True)
    def places(self, tmp_path: Path, keys: Path) -> Iterator[None]:
        self.config, self.system, self.keys = tmp_path / "config", tmp_path / "etc", keys
        self.environment = {"XDG_CONFIG_HOME": str(self.config)}
        yield

    def put(self, folder: Path, name: str) -> Path:
        folder.mkdir(parents=True, exist_ok=True)
        return Path(shutil.copy(self.keys / name, folder))

    def trusted(self, **more: str) -> tuple[Path, ...]:
        return trusted_keys({**self.environment, **more}, self.system)

    def test_nobody_by_default(self):
        assert self.trusted() == ()

    def test_the_users_and_what_is_named(self):
        own = self.put(self.config / "edgeproof/trusted", "ours.pem")
        named = self.keys / "theirs.pem"
        assert self.trusted(EDGEPROOF_TRUSTED=str(named)) == (own, named)
        assert self.trusted() == (own,)

    def test_where_the_system_has_keys_no_user_adds_others(self):
        system = self.put(self.system, "ours.pem")
        self.put(self.config / "edgeproof/trusted", "theirs.pem")
        assert self.trusted(EDGEPROOF_TRUSTED=str(self.keys / "theirs.pem")) == (system,)

    def test_a_named_place_without_keys_does_not_mean_everybody(self):
        (self.keys / "empty").mkdir()
        with pytest.raises(TrustError, match=r"there is no \*\.pem; nothing can be trusted"):
            self.trusted(EDGEPROOF_TRUSTED=str(self.keys / "empty"))
        with pytest.raises(TrustError, match="absent: cannot be read"):
            self.trusted(EDGEPROOF_TRUSTED=str(self.keys / "absent"))

    def test_a_place_that_is_there_and_names_nobody_does_not_mean_everybody(self):
        place = self.config / "edgeproof/trusted"
        key = self.put(place, "ours.pem")
        key.rename(place / "ours.pub")
        with pytest.raises(TrustError, match=r"trusted: there is no \*\.pem; nothing can be trust"):
            self.trusted()
        shutil.rmtree(place)
        place.write_text("")
        with pytest.raises(TrustError, match="trusted: cannot be read: Not a directory"):
            self.trusted()
        place.unlink()
        place.symlink_to(self.keys / "absent")
        with pytest.raises(TrustError, match="trusted: cannot be read: No such file"):
            self.trusted()

    def test_a_private_key_is_no_key_to_trust(self):
        self.system.mkdir()
        shutil.copy(self.keys / "ours.key", self.system / "ours.pem")
        with pytest.raises(TrustError, match="is a private key; a device has the public one only"):
            self.trusted()

    def test_the_commands_keep_to_it(self, signed: Path, tmp_path: Path):
        self.put(self.config / "edgeproof/trusted", "theirs.pem")
        environment = {**os.environ, **self.environment}

        def edgeproof(*arguments: str) -> subprocess.CompletedProcess[str]:
            return subprocess.run(
                [sys.executable, "-m", "edgeproof", *arguments],
                capture_output=True,
                text=True,
                env=environment,
                cwd=Path(__file__).parents[2],
            )

        for command in (
            ["verify", str(signed)],
            ["run", str(signed), "--source", "0"],
            ["deploy", str(signed), "board"],
        ):
            done = edgeproof(*command)
            assert done.returncode == 1, command
            assert done.stderr.count("\n") == 1
            assert "its signature is not one that is trusted here" in done.stderr
        self.put(self.config / "edgeproof/trusted", "ours.pem")
        assert edgeproof("verify", str(signed)).returncode == 0
        wanted = edgeproof("verify", str(signed), "--key", str(self.keys / "theirs.pem"))
        assert "signed by another key" in wanted.stderr
        key = str(self.keys / "ours.key")
        again = edgeproof("sign", str(signed), "--key", key)
        assert again.stdout == f"{signed / SIGNATURE_NAME}: signs 7 files\n"


class TestEncryption:
    @pytest.fixture(autouse=True)
    def identity(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        pyrage = pytest.importorskip("pyrage")
        made = pyrage.x25519.Identity.generate()
        self.public = str(made.to_public())
        self.file = tmp_path / "identity.txt"
        self.file.write_text(f"# created: today\n{made}\n")
        self.file.chmod(0o600)
        monkeypatch.setenv("EDGEPROOF_IDENTITY", str(self.file))

    def test_it_opens_with_the_devices_key(self, signed: Path, keys: Path, tmp_path: Path):
        encrypt_bundle(signed, tmp_path / "colours.bundle.age", [self.public])
        assert b"bundle.json" not in (tmp_path / "colours.bundle.age").read_bytes()
        bundle = Bundle.open(tmp_path / "colours.bundle.age", signed_by=[keys / "ours.pem"])
        bundle.check_files()
        assert bundle.folder.stat().st_mode & 0o077 == 0
        folder = bundle.folder
        del bundle
        assert not folder.exists()

    def test_altered_or_for_others(self, colour_bundle: Path, tmp_path: Path):
        import pyrage

        file = tmp_path / "a.age"
        encrypt_bundle(colour_bundle, file, [self.public])
        data = file.read_bytes()
        for place in (3, 100, len(data) // 2, len(data) - 1):
            file.write_bytes(data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :])
            with pytest.raises(BundleError, match="cannot be decrypted here: altered, or encrypte"):
                Bundle.open(file)
        file.write_bytes(data[: len(data) // 2])
        with pytest.raises(BundleError, match="cannot be decrypted here"):
            Bundle.open(file)
        other = str(pyrage.x25519.Identity.generate().to_public())
        encrypt_bundle(colour_bundle, file, [other])
        with pytest.raises(BundleError, match="altered, or encrypted for others"):
            Bundle.open(file)

    def test_keys_that_others_may_read_or_that_are_none(
        self, colour_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ):
        file = tmp_path / "a.age"
        encrypt_bundle(colour_bundle, file, [self.public])
        self.file.chmod(0o644)
        with pytest.raises(TrustError, match="others may read this private key: chmod 600"):
            Bundle.open(file)
        self.file.chmod(0o600)
        self.file.write_text("AGE-SECRET-KEY-1NONSENSE\n")
        with pytest.raises(TrustError, match="holds no age key") as caught:
            Bundle.open(file)
        assert "NONSENSE" not in str(caught.value)
        monkeypatch.delenv("EDGEPROOF_IDENTITY")
        monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "none"))
        with pytest.raises(TrustError, match="is encrypted, and this device has no key: age-keyge"):
            Bundle.open(file)
        with pytest.raises(TrustError, match="is no age public key"):
            encrypt_bundle(colour_bundle, file, ["age1nonsense"])

    def test_where_a_key_is_looked_for(self, tmp_path: Path):
        (tmp_path / "edgeproof").mkdir()
        own = tmp_path / "edgeproof/identity.txt"
        own.write_text("x")
        config = {"XDG_CONFIG_HOME": str(tmp_path)}
        assert identity_file(config) == own
        (tmp_path / "edgeproof-identity").write_text("x")
        credential = {**config, "CREDENTIALS_DIRECTORY": str(tmp_path)}
        assert identity_file(credential) == tmp_path / "edgeproof-identity"
        assert identity_file({**credential, "EDGEPROOF_IDENTITY": "/x"}) == Path("/x")

    def test_recipients_from_a_file(self, tmp_path: Path):
        (tmp_path / "keys.txt").write_text(f"# the shop\n{self.public}\n\n")
        assert recipients_of(str(tmp_path / "keys.txt")) == [self.public]
        (tmp_path / "keys.txt").write_text("# none\n")
        with pytest.raises(TrustError, match=r"holds no public key \(age1\.\.\.\)"):
            recipients_of(str(tmp_path / "keys.txt"))
