"""Plain prose of every language passes the default limits; bad text is dropped in every language too."""

import tomllib
from pathlib import Path

import pyarrow as pa
import pytest

from data_recipes.sections.refining import FilterSection, ScoreSection
from pipelines.artifacts.languages.words import STOP_WORDS
from pipelines.artifacts.scores import SCORES
from pipelines.filter.rules import decide
from pipelines.filter.takedown import Takedown
from pipelines.score import fingerprint
from pipelines.score.from_recipe import load_scorer
from pipelines.score.text.characters import Characters
from pipelines.score.text.language import Language
from pipelines.score.text.stop_words import num_stop_words

PROSE = {
    "zh": "早上六点，老张就推着车来到河边的市场。他卖的豆腐是妻子昨天晚上做的，还带着一点热气。雨刚停，石板路上到处"
    "是水。一个女孩跑过来，说她妈妈生病了，想买两块豆腐和一把青菜。老张多给了她一块，没有收钱。女孩站了一会儿"
    "，从口袋里拿出一颗糖放在车上。后来每逢下雨，老张都会想起那颗糖，也会看看桥那边有没有人跑过来。市场今年要"
    "搬到城外去了，他还不知道自己要不要跟着去。",
    "ja": "祖母の家には古い柱時計があって、私が子どものころから五分だけ遅れていた。誰も直そうとしなかったのは、祖父"
    "が亡くなった日に初めて遅れたからだという。夏休みになると、私はその時計の下で本を読み、台所から聞こえる包"
    "丁の音を数えた。去年、家を片づけるために時計屋さんに来てもらうと、歯車のあいだから小さな手紙が出てきた。"
    "字は薄くなっていたが、帰りが遅くなる、とだけ書いてあった。母は笑いながら泣いて、時計をそのまま壁に戻した"
    "。",
    "th": "ทุกเช้าป้าจันทร์จะพายเรือไปขายกล้วยที่ตลาดริมน้ำ เรือลำนี้พ่อของป้าต่อเองเมื่อสี่สิบปีก่อน ไม้บางแผ่นเริ่มผุแล้วแต่ป้าไม่ยอมเปลี่ยน "
    "วันหนึ่งฝนตกหนักจนน้ำท่วมสะพาน เด็กนักเรียนข้ามไปโรงเรียนไม่ได้ ป้าจึงพายเรือรับส่งเด็กทั้งวันโดยไม่คิดเงิน "
    "ตอนเย็นพวกเด็กเอาสีมาทาเรือให้ใหม่เป็นสีฟ้าสดใส คนในตลาดเห็นก็หัวเราะ แต่ตั้งแต่นั้นมากล้วยของป้าก็ขายหมดก่อนเที่ยงทุกวัน",
    "ko": "우리 동네 끝에는 문을 닫은 지 오래된 극장이 하나 있다. 아버지는 젊었을 때 그곳에서 표를 팔았고, 어머니를 "
    "처음 만난 곳도 매표소 앞이었다고 한다. 지난겨울에 눈이 많이 내려서 지붕이 무너졌는데, 사람들은 건물을 "
    "헐지 않고 벽만 남겨 작은 정원을 만들기로 했다. 봄이 되자 아이들은 무대가 있던 자리에 감자를 심었다. 나는 "
    "가끔 저녁에 그곳에 앉아 영화가 시작되기를 기다리는 사람처럼 하늘을 본다. 별이 하나씩 켜지면 옆에 앉은 "
    "할머니가 오늘은 무슨 영화냐고 묻는다. 나는 아직 제목을 모른다고, 끝까지 보고 나서 알려 드리겠다고 "
    "대답한다. 할머니는 고개를 끄덕이고 주머니에서 따뜻한 밤 두 개를 꺼내 하나를 나에게 준다.",
    "hi": "गाँव के बाहर एक पुराना कुआँ है जिसके पास बरगद का बड़ा पेड़ खड़ा है। गर्मी के दिनों में बच्चे वहाँ बैठकर आम खाते हैं और बूढ़े लोग "
    "ताश खेलते हैं। पिछले साल पानी बहुत नीचे चला गया था, इसलिए सबने मिलकर कुएँ को और गहरा करने का फैसला किया। तीन महीने तक "
    "हर रविवार को काम चला और औरतों ने सबके लिए खाना बनाया। जब पहली बाल्टी ऊपर आई तो उसमें एक पीतल की घंटी भी थी। "
    "किसी को नहीं पता कि वह वहाँ कैसे पहुँची, लेकिन अब वह स्कूल में लगी है और सुबह उसी की आवाज़ से दिन शुरू होता है।",
    "ar": "كان جدي يصلح الساعات في دكان صغير قرب الميناء، ولم يكن يأخذ أجرا من البحارة لأنهم كانوا يحملون إليه "
    "أخبار البلاد البعيدة. وفي يوم من أيام الشتاء دخل رجل غريب ووضع على الطاولة ساعة لا عقارب لها. قال إنها "
    "توقفت عن عد الوقت منذ أن ترك بيته، وإنه لا يريد إصلاحها بل يريد أن تبقى عند من يفهم الصمت. علقها جدي على "
    "الجدار بين الساعات كلها، ومع أن الدكان صار اليوم مقهى فإن هذه الساعة ما زالت في مكانها، ويسأل عنها كل من "
    "يدخل.",
    "ru": "На окраине посёлка стоит мельница, которая давно не мелет зерно, но каждую осень к ней приходят люди. "
    "Говорят, что если послушать, как ветер ходит между камнями, можно узнать, какой будет зима. Старый "
    "мельник в это не верил и только смеялся, однако тоже приходил и садился на ступеньку с кружкой чая. В "
    "прошлом году он сказал, что зима будет тихая, и не ошибся: снег лёг в ноябре и лежал до марта. А весной "
    "его внук починил колесо, и теперь по субботам там пекут хлеб.",
    "de": "Hinter dem Bahnhof liegt ein Garten, der niemandem gehört, und deshalb kümmern sich alle um ihn. Die "
    "Frau vom Kiosk gießt die Tomaten, der Lokführer bringt im Herbst das Laub von den Gleisen, und die "
    "Kinder haben einen Teich gegraben, in dem es jetzt Molche gibt. Als die Stadt dort einen Parkplatz bauen "
    "wollte, saßen am nächsten Morgen vierzig Leute zwischen den Beeten und frühstückten. Der Bürgermeister "
    "kam, um mit ihnen zu reden, blieb bis zum Mittag und nahm einen Korb mit Bohnen nach Hause.",
    "fr": "Le boulanger de la place n'a jamais su lire, mais il reconnaît chaque client à la façon dont il pousse "
    "la porte. Quand le facteur entre, il prépare deux croissants avant même que l'homme ait parlé, et pour "
    "la vieille institutrice il garde une baguette bien cuite. Un matin, une inconnue est restée sur le seuil "
    "sans oser avancer. Il lui a tendu un pain chaud en disant que le premier était offert à ceux qui "
    "arrivent. Elle est revenue le lendemain avec un livre, et depuis ce jour ils lisent ensemble une page.",
    "es": "En la última casa del camino vive un hombre que colecciona llaves sin cerradura. La gente se las trae de "
    "los pueblos vecinos y él escribe en un cuaderno de dónde vienen y qué puerta abrían cuando todavía había "
    "una puerta. Una tarde llegó una niña con la llave de un diario que se había perdido en el río. El hombre "
    "la colgó junto a la ventana y le dijo que las cosas que no se pueden abrir son las que mejor se guardan. "
    "La niña volvió cada verano para comprobar que la llave seguía en su sitio.",
    "vi": "Nhà tôi ở cuối con hẻm, nơi mỗi buổi chiều các bà già mang ghế ra ngồi nói chuyện và nhặt rau. Mùa mưa "
    "nước ngập đến đầu gối, trẻ con thả thuyền giấy từ bậc cửa này sang bậc cửa khác. Có lần một chiếc thuyền "
    "trôi đi rất xa, và hôm sau người bán bánh mì mang nó trở lại, trong thuyền có một lá thư của những đứa "
    "trẻ ở xóm bên kia sông. Từ đó chúng tôi viết thư cho nhau bằng thuyền, và chỉ viết khi trời mưa.",
    "tr": "Mahallenin en eski terzisi dükkânını kapatmaya karar verdiğinde herkes ona bir ceket getirdi. Kimi "
    "yıllardır giymediği bir düğmeyi diktirmek istedi, kimi de yalnızca bir kez daha o küçük aynanın "
    "karşısında durmak için geldi. Terzi her ceketin cebine kısa bir not koydu ve bu notu ne zaman "
    "okuyacaklarını söylemedi. Ben benimkini geçen kış buldum; üzerinde sadece bir adres ve bir saat vardı. O "
    "saatte oraya gittim, meğer herkes aynı gün bulmuş, çay çoktan hazırdı.",
    "fi": "Järven toisella puolella on sauna, jonka kukaan ei muista rakentaneensa. Se on aina lämmin, kun joku "
    "tulee soutaen illalla rantaan, ja lauteilla on kuivia vihtoja. Isä sanoi, että talon vanhin tytär "
    "lämmitti sen ennen kuin lähti merille, eikä tuli ole sen jälkeen sammunut. Minä en uskonut tarinaa, "
    "mutta viime syksynä jäin sinne yöksi. Aamulla ovella oli märkä airo ja kaksi kuppia, ja toinen niistä "
    "oli vielä lämmin, vaikka olin ollut yksin koko yön.",
    "pl": "W piwnicy biblioteki stoi pianino, na którym wolno grać tylko w czasie burzy. Nikt nie wie, kto wymyślił "
    "tę zasadę, ale wszyscy jej przestrzegają, bo grzmoty zagłuszają fałszywe nuty. Pewnej nocy nauczyciel "
    "muzyki usłyszał z ulicy melodię, której uczył się jako dziecko, i zszedł na dół w mokrym płaszczu. Przy "
    "klawiszach siedziała sprzątaczka i nie przestała grać, kiedy go zobaczyła. Od tego czasu grają we dwoje, "
    "a ludzie z okolicy czekają na deszcz z otwartymi oknami.",
    "en": "The lighthouse keeper had a cat that could tell the weather, or so the people of the harbour believed. "
    "When it slept on the stove the boats stayed in, and when it sat on the wall with its back to the sea "
    "they went out. One spring the cat walked down to the pier, got into a boat and would not be moved. The "
    "crew took it along and came home with more fish than they could carry, and that is why there is still a "
    "small bowl of milk on every deck in the bay.",
}
SECTION = ScoreSection()


def reason(text: str, section: FilterSection) -> str:
    scorer = load_scorer(SECTION, fingerprint(SECTION, Path()), Path())
    row = {"doc_id": "0" * 32, **scorer.score(text, "", None).row}
    documents = pa.table({"url": [""], "licence": pa.array([None], pa.string())})
    return decide(pa.Table.from_pylist([row], schema=SCORES), documents, section, Takedown.of([]))[0]


def web_limits() -> FilterSection:
    page = Path(__file__).parents[4] / "data_recipes" / "corpora" / "web.toml"
    return FilterSection(**tomllib.loads(page.read_text(encoding="utf-8"))["filter"] | {"languages": []})


@pytest.mark.parametrize("language", PROSE)
def test_prose_is_kept_by_the_default_limits_and_by_those_for_the_web(language):
    text = PROSE[language]
    assert [reason(text, section) for section in (FilterSection(), FilterSection(languages=[language]))] == ["", ""]
    assert reason(text, web_limits()) == ""


@pytest.mark.parametrize("language", PROSE)
def test_what_repeats_itself_is_dropped_in_every_language(language):
    text = PROSE[language]
    assert reason("\n".join([text[: len(text) // 3]] * 4), FilterSection()) != ""
    assert reason("".join([text[:40]] * 12), FilterSection()) != ""


@pytest.mark.parametrize("language", PROSE)
def test_a_text_of_a_few_words_is_short_in_every_language(language):
    assert reason(PROSE[language][:40], FilterSection()) == "min_words"


def test_stop_words_are_asked_of_languages_that_have_them_and_of_no_other():
    def count(text: str, code: str, margin: float = 0.3) -> int | None:
        return num_stop_words(Characters(text).words, Language(code, margin, False))

    assert set(STOP_WORDS["en"]) == {"the", "be", "to", "of", "and", "that", "have", "with"}
    assert count("the be to of and that have with", "en") == 8
    assert count("Der Hund und die Katze", "de") == 3
    assert count("The dog and the cat", "de") == 2  # an English page that was taken for a German one
    assert count("Der Hund und die Katze", "de", margin=0.05) is None
    assert [count("的 是 了", code) for code in ("zh", "ja", "th", "unknown", "xx")] == [None] * 5
    for code, words in STOP_WORDS.items():
        assert count(" ".join(words), code) == len(words), code
