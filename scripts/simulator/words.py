"""The words that film titles are made of."""


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


ADJECTIVES = _words(
    """
    Silent Broken Crimson Hidden Last Lost Golden Dark Lonely Wild Restless Frozen Burning Quiet Hollow Savage
    Gentle Midnight Forgotten Secret Perfect Electric Invisible Bitter Crooked Distant Endless Fearless Faithful
    Grand Haunted Iron Late Little Long Mad Magnificent Naked New Old Pale Painted Private Proud Rising Royal
    Sacred Scarlet Second Seventh Shallow Simple Sleeping Small Stolen Strange Sweet Tender Thin True Twisted
    Unknown Velvet Violent Wandering White Wicked Winter Young Yellow Absent Amazing Ancient Barefoot Beautiful
    Black Blind Blue Brave Careless Cold
    """
)

NOUNS = _words(
    """
    River Garden Soldier Stranger Night Summer City Train Harbor Mirror Letter Orchard Empire Island Dancer
    Doctor Detective Widow Kingdom Forest Bridge Storm Circus Lighthouse Mountain Desert Sailor Thief Teacher
    Painter Pilot Witness Judge Hunter Farmer Baker Gambler Angel Ghost Wolf Lion Tiger Eagle Horse Fox Raven
    Swan Serpent Dragon Robot Machine Signal Planet Moon Star Comet Rocket Engine Castle Tower Palace Temple
    Prison Hospital Hotel School Street Avenue Highway Crossing Station Window Door Key Clock Crown Sword Rifle
    Knife Bullet Diamond Pearl Ring Promise Secret Lie Dream Memory Shadow Whisper Song Symphony Waltz Tango
    Carnival Holiday Wedding Funeral Party Game Chase Escape Heist Trial Murder Affair Romance Revenge Betrayal
    Honor Glory Courage Fear Anger Silence Winter Autumn Spring Morning Evening Sunset Horizon Ocean Voyage
    Journey Pilgrim Prophet King Queen Prince Princess Duke Captain General Colonel Sheriff Outlaw Bandit Cowboy
    Samurai Monk Nun Priest Saint Sinner Devil Mother Father Sister Brother Daughter Son Uncle Neighbor Friend
    Enemy Lover Bride Tailor Barber Butcher Miner Clown Magician Champion
    """
)

FIRST_NAMES = _words(
    """
    Anna Boris Clara Daniel Elena Felix Greta Henry Iris Jack Karin Leo Maria Nora Oscar Paul Quentin Rosa
    Samuel Tessa Ursula Victor Wanda Xavier Yvonne Alice Bruno Carmen Dexter Edith Frank Gloria Hugo Ida Jonas
    Katya Louis Molly Nils
    """
)

LAST_NAMES = _words(
    """
    Adler Barlow Carrow Dalton Ellery Fontaine Garrick Holloway Irving Jessup Kessler Larkin Marlowe Norwood
    Osgood Prescott Quill Ramsey Sutter Thorne Underhill Vance Whitlock Yarrow Zeller Ashby Bramwell Colby
    Drummond Everett
    """
)

PLACES = _words(
    """
    Lisbon Casablanca Vienna Havana Kyoto Odessa Bombay Naples Dublin Prague Havre Tangier Memphis Boston
    Savannah Yukon Siberia Patagonia Saigon Shanghai Marrakesh Berlin Brooklyn Venice Cairo Lima Oslo Tulsa Reno
    Dover
    """
)

# How titles are built, and how often of 100.
PATTERNS = (
    ("The {adjective} {noun}", 17.0),
    ("{adjective} {noun}", 15.0),
    ("{noun}", 9.0),
    ("The {noun}", 9.0),
    ("The {noun} of {place}", 7.0),
    ("{noun} of the {other}", 5.0),
    ("{first} {last}", 5.0),
    ("{noun} {number}", 5.0),
    ("{first}'s {noun}", 4.0),
    ("{number} {noun}s", 3.0),
    ("Dr. {last}", 2.0),
    ("{noun}-{other}", 2.0),
    ("{first} & {last}", 2.0),
    ("Mr. & Mrs. {last}", 1.0),
    ("{adjective} {noun} & {other}", 1.0),
    ("The {noun}, the {other} and the {last}", 1.0),
    ("Good {noun}, {first}", 2.0),
    ("{noun}, {place}", 2.0),
    ("{noun} vs. {other}", 1.5),
    ("{noun} Part {number} - The {adjective} {other}", 1.5),
    ("{noun} No. {number}", 1.5),
    ("Almost {adjective}...", 1.0),
    ("{noun}*{number}", 0.5),
    ("Why {first} {last} Is {adjective}?", 1.0),
)
