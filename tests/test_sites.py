"""Sites: two spellings, one order, and what an Agent knows of them."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.toys import quiet, toy
from workbench import Site
from workbench.errors import UnknownSite

pytestmark = quiet
PAIRS = {
    "L1.mlp.post": "blocks.1.mlp.hook_post",
    "L0.resid_pre": "blocks.0.hook_resid_pre",
    "L12.attn.z": "blocks.12.attn.hook_z",
    "L2.ln1.normalized": "blocks.2.ln1.hook_normalized",
    "hook_embed": "hook_embed",
    "ln_final.hook_out": "ln_final.hook_out",
}


@pytest.mark.parametrize(("short", "name"), PAIRS.items())
def test_the_short_and_the_full_name_mean_one_site(short: str, name: str) -> None:
    site = Site.parse(short)
    assert site == Site.parse(name) == Site(name) == Site.parse(site)
    assert (site.short, str(site), site.name) == (short, short, name)


@given(layer=st.integers(0, 99), kind=st.sampled_from(("mlp.hook_post", "hook_resid_post", "attn.hook_q")))
def test_a_site_has_a_layer_and_a_kind_and_twins_in_other_layers(layer: int, kind: str) -> None:
    site = Site(f"blocks.{layer}.{kind}")
    assert (site.layer, site.kind) == (layer, kind)
    assert Site.parse(site.short) == site


def test_sites_outside_the_blocks_have_no_layer() -> None:
    assert Site("hook_embed").layer is None
    assert Site("ln_final.hook_out").kind == "ln_final.hook_out"


def test_sites_are_ordered_by_layer_and_the_embeddings_come_first() -> None:
    sites = [Site.parse(s) for s in ("L10.mlp.post", "L2.mlp.post", "hook_embed", "L2.attn.z")]
    assert [s.short for s in sorted(sites)] == ["hook_embed", "L2.attn.z", "L2.mlp.post", "L10.mlp.post"]
    assert list(toy().sites()) == sorted(toy().sites())


@given(st.text(max_size=20))
def test_any_text_is_a_site_or_refused(text: str) -> None:
    with suppress(UnknownSite):
        site = Site.parse(text)
        assert Site.parse(site.short) == site


def test_every_listed_site_is_known_by_all_its_names() -> None:
    agent = toy()
    for site in agent.sites():
        assert agent.site(site) == agent.site(site.name) == agent.site(site.short) == site
    hooks = [id(agent.bridge.hook_dict[site.name]) for site in agent.sites()]
    assert len(set(hooks)) == len(hooks)
    for alias, hook in agent.bridge.hook_dict.items():
        if id(hook) in hooks:
            assert agent.bridge.hook_dict[agent.site(alias).name] is hook


def test_patterns_and_scores_of_attention_are_no_sites() -> None:
    assert not [s for s in toy().sites() if s.name.endswith(("hook_pattern", "hook_attn_scores"))]


def test_the_usual_sites_are_there_with_the_names_of_transformer_lens() -> None:
    usual = (
        "resid_pre",
        "resid_mid",
        "resid_post",
        "attn_out",
        "mlp_out",
        "mlp.pre",
        "mlp.post",
        "attn.q",
        "attn.k",
        "attn.z",
    )
    listed = {site.short for site in toy().sites()}
    assert {f"L{layer}.{kind}" for layer in range(3) for kind in usual} | {"hook_embed", "hook_pos_embed"} <= listed
