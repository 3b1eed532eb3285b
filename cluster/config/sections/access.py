"""Who may ask, by address, autonomous system and country, and the files that tell those of addresses."""

from typing import Annotated, Literal

from pydantic import Field

from cluster.config.values import Asn, Block, Country, Expects, FilePath, Many, Section

_Database = Annotated[FilePath, Expects("the path of a .mmdb file")]


class Access(Section):
    """Who may ask. The most specific network decides; of two equal ones, deny wins. Where no network does,
    the autonomous system decides, then the country."""

    allow: Many[Block] = Field(default=[], description="Networks that may.")
    deny: Many[Block] = Field(default=[], description="Networks that may not; they get 403.")
    allow_files: Many[FilePath] = Field(
        default=[],
        description="Files of networks that may, one a line; read again when they change.",
    )
    deny_files: Many[FilePath] = Field(default=[], description="Files of networks that may not.")
    allow_asns: Many[Asn] = Field(
        default=[], description="Autonomous systems that may (by the file 'geo.asn')."
    )
    deny_asns: Many[Asn] = Field(default=[], description="Autonomous systems that may not.")
    allow_countries: Many[Country] = Field(
        default=[], description="Countries that may (by the file 'geo.country')."
    )
    deny_countries: Many[Country] = Field(default=[], description="Countries that may not.")
    default: Literal["allow", "deny"] | None = Field(
        default=None, description="Everyone else; when not given: deny beside an allow list, else allow."
    )

    @property
    def allows(self) -> bool:
        """Is there any list of who may?"""
        return bool(self.allow or self.allow_files or self.allow_asns or self.allow_countries)

    @property
    def denies(self) -> bool:
        """Is there any list of who may not?"""
        return bool(self.deny or self.deny_files or self.deny_asns or self.deny_countries)


class GeoSection(Section):
    """Files in the MaxMind DB format (.mmdb) that tell of addresses."""

    country: _Database | None = Field(
        default=None, description="File that tells the countries of addresses; read again when it changes."
    )
    asn: _Database | None = Field(
        default=None,
        description="File that tells the autonomous systems of addresses; read again when it changes.",
    )
