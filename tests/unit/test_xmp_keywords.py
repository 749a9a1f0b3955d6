"""Keywords are changed in an XMP packet, and every other byte of it stays."""

import pytest

from scenesearch.pictures.xmp_keywords import XmpError, keywords_of, with_keywords

LIGHTROOM = b"""<?xpacket begin="\xef\xbb\xbf" id="W5M0MpCehiHzreSzNTczkc9d"?>
<!-- a comment -->
<x:xmpmeta xmlns:x="adobe:ns:meta/">
 <rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
  <rdf:Description rdf:about="" xmlns:dc="http://purl.org/dc/elements/1.1/"
    xmlns:crs="http://ns.adobe.com/camera-raw-settings/1.0/"
    xmlns:lr="http://ns.adobe.com/lightroom/1.0/" crs:Exposure2012="+0.35" crs:Look='a > "b"'>
   <dc:subject>
    <rdf:Bag>
     <rdf:li>sea</rdf:li>
     <rdf:li>Caf\xc3\xa9 &amp; bar</rdf:li>
    </rdf:Bag>
   </dc:subject>
   <lr:hierarchicalSubject>
    <rdf:Bag>
     <rdf:li>Places|Coast|Sea</rdf:li>
     <rdf:li>Places|Coast</rdf:li>
    </rdf:Bag>
   </lr:hierarchicalSubject>
   <crs:ToneCurve><rdf:Seq><rdf:li>0, 0</rdf:li></rdf:Seq></crs:ToneCurve>
  </rdf:Description>
 </rdf:RDF>
</x:xmpmeta>
<?xpacket end="w"?>"""


def test_a_keyword_is_added_and_every_other_byte_stays() -> None:
    changed = with_keywords(LIGHTROOM, add=["holiday", "Sea"])
    assert changed == LIGHTROOM.replace(
        b"bar</rdf:li>", b"bar</rdf:li>\n     <rdf:li>holiday</rdf:li>"
    )
    assert keywords_of(changed) == ("sea", "Café & bar", "holiday")


def test_a_keyword_is_removed_also_as_the_last_level_of_a_path() -> None:
    changed = with_keywords(LIGHTROOM, remove=["sea"])
    assert changed == LIGHTROOM.replace(b"\n     <rdf:li>sea</rdf:li>", b"").replace(
        b"\n     <rdf:li>Places|Coast|Sea</rdf:li>", b""
    )


def test_what_was_added_and_removed_again_leaves_the_packet_as_it_was() -> None:
    changed = with_keywords(LIGHTROOM, add=["<Paris> & Söhne"])
    assert keywords_of(changed)[-1] == "<Paris> & Söhne"
    assert with_keywords(changed, remove=["<paris> & söhne"]) == LIGHTROOM


def test_the_last_keyword_is_exchanged() -> None:
    changed = with_keywords(LIGHTROOM, add=["tea"], remove=["café & bar"])
    assert keywords_of(changed) == ("sea", "tea")


def test_a_new_packet_has_its_keywords() -> None:
    packet = with_keywords(None, add=["sea", "boat"])
    assert keywords_of(packet) == ("sea", "boat")
    assert packet.startswith(b"<?xpacket begin=")


@pytest.mark.parametrize(
    "inside",
    [
        b"<rdf:Description rdf:about=''/>",
        b"<rdf:Description rdf:about=''></rdf:Description>",
        b"<rdf:Description><dc:subject><rdf:Bag/></dc:subject></rdf:Description>",
        b"<rdf:Description><dc:subject><rdf:Bag></rdf:Bag></dc:subject></rdf:Description>",
        b"<rdf:Description><dc:title>x</dc:title></rdf:Description>\n<rdf:Description/>",
    ],
)
def test_a_list_is_made_where_there_is_none(inside: bytes) -> None:
    packet = _packet(inside)
    changed = with_keywords(packet, add=["boat"])
    assert keywords_of(changed) == ("boat",)
    assert b"x</dc:title>" in changed or b"title" not in inside


def test_a_single_keyword_becomes_a_list() -> None:
    packet = _packet(b"<rdf:Description><dc:subject>sea</dc:subject></rdf:Description>")
    assert keywords_of(with_keywords(packet, add=["boat"])) == ("sea", "boat")
    assert keywords_of(with_keywords(packet, remove=["sea"])) == ()


@pytest.mark.parametrize(
    ("packet", "reason"),
    [
        (b"no XMP at all", "it is damaged"),
        (b"<a/>", "describes no picture"),
        (LIGHTROOM.decode().encode("utf-16"), "damaged|UTF-8"),
        (LIGHTROOM[:-300], "it is damaged"),
        (b"<!DOCTYPE a [<!ENTITY b 'c'>]>" + LIGHTROOM, "damaged"),
        (b'<?xml version="1.0" encoding="latin-1"?><a/>', "written in latin-1"),
    ],
)
def test_what_is_no_xmp_is_refused(packet: bytes, reason: str) -> None:
    with pytest.raises(XmpError, match=reason):
        with_keywords(packet, add=["boat"])


def test_keywords_as_attributes_are_refused_not_lost() -> None:
    packet = _packet(b"<rdf:Description dc:subject='sea'/>")
    with pytest.raises(XmpError, match="cannot be changed"):
        with_keywords(packet, remove=["sea"])


def _packet(inside: bytes) -> bytes:
    return (
        b"<x:xmpmeta xmlns:x='adobe:ns:meta/'><rdf:RDF "
        b"xmlns:rdf='http://www.w3.org/1999/02/22-rdf-syntax-ns#' "
        b"xmlns:dc='http://purl.org/dc/elements/1.1/'>" + inside + b"</rdf:RDF></x:xmpmeta>"
    )
