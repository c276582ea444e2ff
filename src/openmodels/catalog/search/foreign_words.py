"""Words of queries in other languages, and the English ones that mean the same.

Of each language: what people ask for models by, and after "-" the words that carry no meaning in a query.
The latter are left out only where a word of the former shows the language: "mit" is a license and German.
"""

from __future__ import annotations

from functools import cache

from openmodels.catalog.vocabulary import read_table

_GERMAN = """
uncensored: unzensiert, unzensierte, unzensiertes, ohne zensur
not: kein, keine, keinen, nicht, ohne, außer
between: zwischen
under: unter, weniger als, kleiner als, höchstens, bis zu
over: über, mehr als, größer als, mindestens
billion: milliarden, milliarde, mrd
million: millionen, mio
parameters: parameter, parametern
context: kontext, kontextfenster, kontextlänge
long context: langer kontext, langem kontext, großes kontextfenster
runs on: läuft auf, lauffähig auf, passt in, passt auf
my laptop: meinem laptop, mein laptop, meinem rechner, meinem pc, meinem computer, meinen laptop, meinem notebook
locally: lokal, lokales, lokale, lokaler
vram: grafikspeicher
ram: arbeitsspeicher, speicher
commercial use: kommerziell, kommerzielle nutzung, kommerziell nutzbar, kommerziellen einsatz, kommerziell nutzen
open source: quelloffen, quelloffene, quelloffenes
model: modell, modelle, modells, modellen, ki, kis
llm: sprachmodell, sprachmodelle, sprachmodells, großes sprachmodell, große sprachmodelle
chat: chatten, gespräch, gespräche, dialog, dialoge, chatmodell, unterhalten, unterhaltung, konversation
translation: übersetze, übersetzer, übersetzung, übersetzungen, übersetzen, übersetzer, übersetzt
translation: übersetzungsmodell, uebersetzung
translation: maschinelle übersetzung
summarization: zusammenfassung, zusammenfassungen, zusammenfassen, zusammenfasst, textzusammenfassung
speech recognition: sprache in text, sprache zu text, spracherkennung, transkription, transkribieren
speech recognition: transkribiert, sprache zu text, diktat
speech recognition: untertitel
text to speech: sprachausgabe, sprachsynthese, vorlesen, vorliest, text zu sprache, stimme
text to image: bild erzeugen, bild generieren, bilder malen, bildgenerierung, bilder generieren, bilder erzeugen
text to image: bilder erstellen, bilderzeugung, text zu bild
image classification: bildklassifikation, bildklassifizierung, bilderkennung, bilder klassifizieren
image segmentation: bildsegmentierung
object detection: objekterkennung
image captioning: bildbeschreibung, bilder beschreiben
sentiment analysis: stimmungsanalyse, sentimentanalyse
text classification: textklassifikation, textklassifizierung
named entity recognition: eigennamenerkennung, namenserkennung
question answering: fragenbeantwortung, fragebeantwortung, fragen beantworten, fragen und antworten
embedding: einbettung, einbettungen, satzeinbettungen
time series: zeitreihen, zeitreihe, zeitreihenvorhersage, vorhersage
semantic search: semantische suche, suche
code: programmieren, programmierung, quellcode, programmcode
math: mathe, mathematik, rechnen
medical: medizin, medizinisch, medizinisches, medizinische
legal: recht, jura, juristisch, juristisches, juristische, rechtlich
finance: finanzen, finanz, finanziell
small: klein, kleine, kleines, kleiner, kleinstes
large: groß, große, großes, großer
multilingual: mehrsprachig, mehrsprachige, mehrsprachiges, mehrsprachiger
quantized: quantisiert, quantisiertes, quantisierte
license: lizenz, lizenzen, lizenziert
german: deutschsprachig, deutschsprachige, deutschsprachiges
english: englischsprachig, englischsprachiges
-: für, der, die, das, den, dem, des, ein, eine, einen, einem, einer, eines, mit, ohne, und, oder, auf, in, im
-: am, an, zu, zum, zur, von, vom, aus, bei, ist, sind, das, welches, welche, welcher, wie, was, ich, mir
-: mein, mein, meinem, meinen, kann, können, läuft, laufen, lauffähig, gut, gute, gutes, guter, bestes, beste
-: besten, bester, suche, sucht, brauche, gibt, es, man, freies, freie, frei, kostenlos, kostenloses
-: parameter, parametern, texte, texten, text, auch, nach, ins, sprache, sprachen, bitte, nutzen, darf, als
"""
_FRENCH = """
uncensored: sans censure, non censuré, non censurés
not: pas, sans, sauf, excepté
between: entre
under: moins de, moins que, inférieur à, jusqu'à, sous
over: plus de, au moins, supérieur à
billion: milliard, milliards
parameters: paramètres, paramètre, de paramètres
context: contexte, fenêtre de contexte
long context: long contexte, contexte long, grand contexte
runs on: tourne sur, tourner sur, fonctionne sur, tient dans
my laptop: mon ordinateur, mon pc, mon portable, ma machine, mon mac, mon laptop
locally: localement, en local, local
ram: mémoire, de mémoire, mémoire vive
gb: go
commercial use: commercial, usage commercial, utilisation commerciale, commercialement
open source: libre
model: modèle, modèles, modele, modeles, ia
llm: modèle de langue, modèle de langage, modèles de langage, grand modèle de langage
chat: dialoguer, discuter, conversationnel, conversationnelle
chat: agent conversationnel
translation: traduction, traductions, traduire, traducteur, traduction automatique
summarization: résumé, résumés, résumer, synthèse de texte, resume de texte
speech recognition: reconnaissance vocale, reconnaissance de la parole, transcrire, transcription audio
speech recognition: sous-titres, parole en texte
text to speech: synthèse vocale, synthèse de la parole, texte en parole, voix
text to image: génération d'images, génération d'image, générer des images, génération images
text to image: générateur d'images, texte en image
image classification: classification d'images, classification d'image, classer des images
image segmentation: segmentation d'images, segmentation d'image
object detection: détection d'objets, détection d'objet
image captioning: légende d'images, décrire des images, description d'images
sentiment analysis: analyser les sentiments, analyser des sentiments, analyse de sentiments
sentiment analysis: analyse de sentiment, analyse des sentiments
text classification: classification de texte, classification de textes
named entity recognition: reconnaissance d'entités nommées, entités nommées
question answering: réponse aux questions, questions réponses, questions-réponses, répondre à des questions
embedding: plongement, plongements, plongement lexical, vecteurs
time series: séries temporelles, série temporelle, prévision
semantic search: recherche sémantique
code: programmation, programmer
math: mathématiques, maths, mathématique
medical: médical, médicale, médicaux, médecine, santé
legal: juridique, juridiques, droit
finance: financier, financière
small: petit, petite, petits, petites, léger, légère
large: grand, grande, grands, grandes
multilingual: multilingue, multilingues
quantized: quantifié, quantifiée
license: licence
-: pour, de, du, des, la, le, les, un, une, d', l', en, et, ou, à, au, aux, avec, sans, sur, dans, par, qui
-: que, quel, quelle, est, sont, je, mon, ma, mes, peut, tourne, tourner, fonctionne, bon, bonne, meilleur
-: meilleure, meilleurs, meilleures, cherche, besoin, gratuit, gratuite, texte
-: textes, langue, vers, plus, moins, il, faire, d, l, ça, ce
"""
_SPANISH = """
uncensored: sin censura
not: sin, no, excepto, salvo
between: entre
code: codificar
under: menos de, menor de, menor que, menores de, hasta, como máximo
over: más de, al menos, mayor de, mayor que
billion: mil millones, mil millones de
million: millones, millones de
parameters: parámetros, parametros, de parámetros
context: contexto, ventana de contexto, de contexto
long context: contexto largo, contexto grande
runs on: corre en, correr en, funciona en, quepa en
my laptop: mi portátil, mi ordenador, mi computadora, mi pc, mi laptop, mi máquina, mi mac
locally: localmente, en local
ram: memoria, de memoria
commercial use: uso comercial, comercial, comercialmente, comerciales
open source: código abierto, codigo abierto, de código abierto
model: modelo, modelos, ia
llm: modelo de lenguaje, modelos de lenguaje, modelo de lengua, gran modelo de lenguaje
chat: conversación, conversar, conversacional, charla, charlar, diálogo, chatear
translation: traducción, traducciones, traducir, traductor, traduccion, traducción automática
summarization: resumen, resúmenes, resumir, resumen de texto, resumir textos, resumir texto
speech recognition: reconocimiento de voz, reconocimiento del habla, transcribir, transcripción, subtítulos
speech recognition: voz a texto
text to speech: síntesis de voz, texto a voz, sintesis de voz, voz
text to image: generación de imágenes, generar imágenes, generador de imágenes, texto a imagen
text to image: generacion de imagenes, crear imágenes
image classification: clasificación de imágenes, clasificar imágenes, clasificacion de imagenes
image segmentation: segmentación de imágenes, segmentacion de imagenes
object detection: detección de objetos, deteccion de objetos, detectar objetos
image captioning: describir imágenes, descripción de imágenes
sentiment analysis: analizar sentimientos, análisis sentimental, análisis de sentimientos
sentiment analysis: análisis de sentimiento, analisis de sentimientos
sentiment analysis: analisis de sentimiento
text classification: clasificación de texto, clasificación de textos, clasificar textos
named entity recognition: reconocimiento de entidades, reconocimiento de entidades nombradas, entidades nombradas
question answering: respuesta a preguntas, preguntas y respuestas, responder preguntas
embedding: incrustaciones, vectores
time series: series temporales, series de tiempo, serie temporal, pronóstico
semantic search: búsqueda semántica, busqueda semantica
code: programación, programar, código, codigo
math: matemáticas, matemática, matematicas
medical: médico, médica, medicina, salud
legal: jurídico, derecho
finance: finanzas, financiero
small: pequeño, pequeña, pequeños, ligero, ligera
large: grande, grandes
multilingual: multilingüe, multilingue
quantized: cuantizado, cuantizada
license: licencia
-: para, de, del, la, el, los, las, un, una, en, y, o, con, sin, por, que, qué, cual, cuál, es, son, yo, mi
-: mis, puede, puedo, corre, correr, funciona, buen, bueno, buena, mejor, mejores, busco, necesito, gratis
-: libre, parámetros, parametros, texto, textos, idioma, a, al, más, menos, se, su, como, cómo, hay, hacer
"""
_PORTUGUESE = """
uncensored: sem censura
not: sem, não, exceto
between: entre
gb: gigas
under: menos de, menor que, abaixo de, até, no máximo
over: mais de, acima de, pelo menos
billion: bilhões, bilhão, bilhoes, bilhões de, mil milhões
million: milhões, milhoes, milhões de
parameters: parâmetros, parametros, de parâmetros
context: contexto, janela de contexto, de contexto
long context: contexto longo, contexto grande
runs on: roda em, rodar em, rode em, roda no, rodar no, roda na, funciona em, cabe em
my laptop: meu notebook, meu computador, meu pc, meu laptop, minha máquina, meu mac
locally: localmente
ram: memória, de memória
commercial use: uso comercial, comercial, comercialmente
open source: código aberto, codigo aberto, de código aberto
model: modelo, modelos, ia
llm: modelo de linguagem, modelos de linguagem, modelo de língua, grande modelo de linguagem
chat: conversa, conversar, conversação, diálogo, bate-papo
translation: tradução, traduções, traduzir, tradutor, traducao, tradução automática
summarization: resumo, resumos, resumir, sumarização, sumarizar
speech recognition: reconhecimento de voz, reconhecimento de fala, transcrever, transcrição, legendas
speech recognition: fala para texto, voz para texto
text to speech: síntese de voz, síntese de fala, texto para voz, texto para fala, voz
text to image: geração de imagens, gerar imagens, gerador de imagens, texto para imagem, criar imagens
image classification: classificação de imagens, classificar imagens
image segmentation: segmentação de imagens, segmentação de imagem
object detection: detecção de objetos, deteção de objetos, detectar objetos
image captioning: descrever imagens, descrição de imagens
sentiment analysis: analisar sentimentos, análise de sentimentos, análise de sentimento
text classification: classificação de texto, classificação de textos, classificar textos
named entity recognition: reconhecimento de entidades, reconhecimento de entidades nomeadas, entidades nomeadas
question answering: perguntas e respostas, responder perguntas, resposta a perguntas
embedding: vetores
time series: séries temporais, série temporal, previsão
semantic search: busca semântica, pesquisa semântica
code: programação, programar, código
math: matemática
medical: médico, médica, medicina, saúde
legal: jurídico, direito
finance: finanças, financeiro
small: pequeno, pequena, pequenos, leve
large: grande, grandes
multilingual: multilíngue, multilingue
quantized: quantizado, quantizada
license: licença
-: para, de, do, da, dos, das, o, a, os, as, um, uma, em, no, na, nos, nas, e, ou, com, sem, por, que, qual
-: quais, é, são, eu, meu, minha, pode, posso, roda, rodar, rodando, funciona, bom, boa, melhor, melhores
-: procuro, preciso, grátis, livre, texto, textos, idioma, língua, ao, mais, menos, se
-: como, fazer, ele
"""
_ITALIAN = """
uncensored: senza censura
not: senza, non, tranne, eccetto
between: tra, fra
under: meno di, sotto i, fino a, inferiore a, al massimo
over: più di, almeno, superiore a
billion: miliardi, miliardo, miliardi di
million: milioni, milioni di
parameters: parametri, di parametri
context: contesto, finestra di contesto, di contesto
long context: contesto lungo, lungo contesto
runs on: gira su, girare su, funziona su, gira sul, funziona sul
my laptop: mio portatile, mio computer, mio pc, mio laptop, mio mac
locally: localmente, in locale
ram: memoria, di memoria
commercial use: uso commerciale, commerciale, commercialmente
open source: codice aperto
model: modello, modelli, ia
llm: modello linguistico, modelli linguistici, modello di linguaggio, grande modello linguistico
chat: conversazione, conversare, conversazionale, dialogo, chiacchierare
translation: traduzione, traduzioni, tradurre, traduttore, traduzione automatica
summarization: riassunto, riassunti, riassumere, sintesi di testi, riassumere testi
speech recognition: riconoscimento vocale, riconoscimento del parlato, trascrivere, trascrizione, sottotitoli
speech recognition: voce in testo
text to speech: sintesi vocale, da testo a voce, testo in voce, voce
text to image: generazione di immagini, generazione immagini, generare immagini, generatore di immagini
text to image: da testo a immagine, creare immagini
image classification: classificazione di immagini, classificazione immagini, classificare immagini
image segmentation: segmentazione di immagini, segmentazione immagini
object detection: rilevamento di oggetti, rilevamento oggetti, riconoscimento di oggetti, riconoscimento oggetti
image captioning: descrivere immagini, descrizione di immagini
sentiment analysis: analizzare i sentimenti, analisi del sentiment, analisi dei sentimenti, analisi del sentimento
text classification: classificazione di testi, classificazione del testo, classificazione testi
named entity recognition: riconoscimento di entità, entità nominate
question answering: domande e risposte, rispondere a domande, risposta a domande
embedding: vettori
time series: serie temporali, serie storiche, previsione
semantic search: ricerca semantica
code: programmazione, programmare, codice
math: matematica
medical: medico, medica, medicina, salute
legal: legale, giuridico, diritto
finance: finanza, finanziario
small: piccolo, piccola, piccoli, leggero, leggera
large: grande, grandi
multilingual: multilingue
quantized: quantizzato, quantizzata
license: licenza
-: per, di, del, della, dei, delle, da, dal, il, lo, la, i, gli, le, un, uno, una, in, nel, nella, e, ed, o
-: con, senza, su, sul, che, quale, quali, è, sono, io, mio, mia, può, posso, gira, girare, funziona, buon
-: buono, buona, migliore, migliori, cerco, serve, gratis, gratuito, libero, testo, testi, lingua
-: al, alla, più, meno, a, si, come, fare
"""
_DUTCH = """
uncensored: zonder censuur, ongecensureerd
not: geen, niet, zonder, behalve
between: tussen
model: modellen
llm: taalmodel, taalmodellen, groot taalmodel
chat: chatten, gesprek, gesprekken, chatmodel
translation: vertaling, vertalingen, vertalen, vertaler, vertaalmodel
summarization: samenvatting, samenvattingen, samenvatten
speech recognition: spraakherkenning, transcriptie, transcriberen, ondertiteling, spraak naar tekst
text to speech: spraaksynthese, voorlezen, tekst naar spraak, stem
text to image: beeldgeneratie, afbeeldingen genereren, afbeeldingen maken
image classification: beeldclassificatie, beeldherkenning
object detection: objectdetectie, objectherkenning
sentiment analysis: sentimentanalyse
text classification: tekstclassificatie
semantic search: semantisch zoeken
question answering: vragen beantwoorden, vraag en antwoord
code: programmeren, broncode
math: wiskunde
medical: medisch, medische, geneeskunde
legal: juridisch, juridische
small: klein, kleine
large: groot, grote
multilingual: meertalig, meertalige
under: onder, minder dan, kleiner dan, hoogstens
over: meer dan, groter dan, minstens
billion: miljard
million: miljoen
my laptop: mijn laptop, mijn computer, mijn pc
locally: lokaal, lokale
ram: geheugen, werkgeheugen
commercial use: commercieel, commercieel gebruik, commerciële
german: duits, duitse
english: engels, engelse
french: frans, franse
-: voor, de, het, een, met, zonder, en, of, op, in, van, uit, bij, is, zijn, dat, die, welk, welke, wat, hoe, ik
-: mij, mijn, kan, kunnen, draait, draaien, goed, goede, beste, zoek, nodig, gratis, parameters, tekst, teksten
-: ook, naar, als
"""
_RUSSIAN = """
uncensored: без цензуры
not: не, без, кроме
between: между
gb: гб, гигабайт, гигабайта
llm: нейросети, ллм
code: программирования, кодинга, кодинг, кода
small: маленькие, маленькую, небольшую, легкая, лёгкую, компактная, компактные
model: модель, модели, моделей, ии, нейросеть
llm: языковая модель, языковые модели, большая языковая модель
chat: чат, чатбот, диалог, беседа, общение
translation: перевод, переводчик, переводить, машинный перевод
summarization: суммаризация, краткое содержание, реферирование
speech recognition: распознавание речи, транскрипция, расшифровка, субтитры
text to speech: синтез речи, озвучка, текст в речь
text to image: генерация изображений, генерация картинок
image classification: классификация изображений
image segmentation: сегментация изображений, сегментация
object detection: обнаружение объектов, детекция объектов
sentiment analysis: анализ тональности
text classification: классификация текстов, классификация текста
named entity recognition: распознавание сущностей
embedding: эмбеддинг, эмбеддинги, эмбеддингов, вектора
semantic search: семантический поиск
code: код, программирование
math: математика
medical: медицина, медицинская
small: маленькая, небольшая, лёгкая
multilingual: многоязычная, мультиязычная
under: меньше, менее, до
over: больше, более
billion: миллиардов, млрд
million: миллионов, млн
locally: локально, локальная
my laptop: моем ноутбуке, моём ноутбуке, ноутбуке
ram: памяти, оперативной памяти
vram: видеопамяти
commercial use: коммерческое использование, коммерческого использования
open source: открытая, с открытым кодом, открытый код
-: для, на, в, с, из, и, или, по, к, от, лучшая, лучшие, хорошая, какая, нужна, как, параметров, язык, языке
-: языка, бесплатная
"""
_TURKISH = """
uncensored: sansürsüz
under: altında
license: lisans
locally: yerel
model: modeli, modelleri, modeller
llm: dil modeli, dil modelleri, büyük dil modeli
chat: sohbet, konuşma
translation: çeviri, tercüme
summarization: özetleme, özet
speech recognition: konuşma tanıma, ses tanıma
text to speech: seslendirme, metinden konuşmaya
text to image: görüntü üretme, görsel üretme
sentiment analysis: duygu analizi
code: kodlama, yazılım
small: küçük
-: için, en, iyi, ve, ile, bir, bu, hangi, nasıl, olan
"""
_POLISH = """
uncensored: bez cenzury
not: bez, nie, oprócz
between: między
small: małego, lekki
locally: lokalnie, lokalny
code: programowania, kodu
model: modele, modelu, modeli
llm: model językowy, modele językowe, duży model językowy
chat: czat, rozmowa
translation: tłumaczenie, tłumacz, tłumaczenia
summarization: streszczenie, podsumowanie, streszczanie
speech recognition: rozpoznawanie mowy, transkrypcja
text to speech: synteza mowy
text to image: generowanie obrazów
sentiment analysis: analiza sentymentu
code: programowanie, kodowanie
small: mały, małe
-: dla, do, na, w, z, i, lub, najlepszy, dobry, jaki, po, się, jest, językowy
"""
_JAPANESE = """
uncensored: 無修正, 検閲なし, 無検閲
or less: 以下, 未満, 以内
or more: 以上
parameters: パラメータ, パラメーター
context: コンテキスト, コンテキスト長, 文脈長
long context: 長い文脈, ロングコンテキスト, 長文脈, 長文
vram: メモリ, メモリー
locally: ローカル, ローカルで, ローカルで動く, 手元
my laptop: 自分のpc, ノートパソコン, ノートpc
commercial use: 商用, 商用利用, 商用利用可, 商用利用可能, 商用可
open source: オープンソース, オープン
model: モデル, ai, 人工知能
llm: 大規模言語モデル, 言語モデル
chat: チャット, 対話, 会話, チャットボット, アシスタント
translation: 翻訳, 機械翻訳
summarization: 要約, 文章要約
speech recognition: 音声認識, 文字起こし, 書き起こし, 字幕
text to speech: 音声合成, 読み上げ, テキスト読み上げ
text to image: 画像生成, 画像を生成, 絵を描く
image classification: 画像分類, 画像認識
image segmentation: セグメンテーション, 画像セグメンテーション
object detection: 物体検出, 物体認識
image captioning: 画像キャプション, 画像説明
image text to text: 視覚言語, マルチモーダル, 画像理解
ocr: 文字認識
sentiment analysis: 感情分析
text classification: 文章分類, テキスト分類
named entity recognition: 固有表現抽出, 固有表現認識
question answering: 質問応答
embedding: 埋め込み, ベクトル, 埋込み
rerank: リランク, リランカー, 再ランキング
time series: 時系列, 時系列予測
semantic search: 意味検索, セマンティック検索
code: コーディング, プログラミング, コード, コード生成
math: 数学
medical: 医療, 医学
legal: 法律
finance: 金融
small: 小型, 小さい, 小さな, 軽量
large: 大型, 大きい
multilingual: 多言語
quantized: 量子化
instruct: 指示
reasoning: 推論
-: の, な, を, が, は, で, に, と, も, へ, や, から, より, まで, できる, 使える, ための, ため, 向け, 用, 版
-: 対応, する, した, して, 動く, 動作, ください
-: おすすめ, 最強, 最新, 無料, オススメ, 良い, いい, ある, です, ライセンス, 公開, 探して, 探す, 欲しい, 特化
-: 型, 系, 生成, 高速, 高性能
"""
_CHINESE = """
uncensored: 无审查, 无限制, 無審查
not: 不要, 不是, 除了, 非
or less: 以下, 以内, 不到
or more: 以上
under: 小于, 低于, 少于, 不超过
over: 大于, 超过, 至少
parameters: 参数, 參數
context: 上下文, 上下文长度, 上下文窗口
long context: 长上下文, 长文本, 超长上下文
vram: 显存, 顯存
ram: 内存, 記憶體
gpu: 显卡
locally: 本地, 本地运行, 本地部署, 在本地
my laptop: 我的电脑, 笔记本, 笔记本电脑, 我的笔记本
commercial use: 商用, 可商用, 商业, 商业使用, 可以商用
open source: 开源, 開源
model: 模型, 人工智能
llm: 大语言模型, 语言模型, 大模型, 大語言模型, 語言模型
chat: 聊天, 对话, 聊天机器人, 對話, 助手, 会话
translation: 翻译, 机器翻译, 翻譯
summarization: 摘要, 总结, 文本摘要, 摘要生成
speech recognition: 语音识别, 语音转文字, 转录, 語音辨識, 字幕, 语音转写
text to speech: 语音合成, 文字转语音, 文本转语音, 語音合成, 朗读
text to image: 文生图, 图像生成, 图片生成, 生成图片, 圖像生成, 画图, 绘画
text to video: 文生视频, 视频生成
image to video: 图生视频
image to image: 图生图, 图像编辑
image classification: 图像分类, 图片分类, 图像识别
image segmentation: 图像分割, 语义分割, 分割
object detection: 目标检测, 物体检测
image captioning: 图像描述, 看图说话, 图片描述
image text to text: 多模态, 视觉语言, 图文理解, 视觉, 看图
ocr: 文字识别, 光学字符识别
sentiment analysis: 情感分析
text classification: 文本分类, 文字分類
named entity recognition: 命名实体识别, 实体识别, 命名實體識別
question answering: 问答, 知识问答
embedding: 嵌入, 向量, 词向量, 文本嵌入, 向量化, 文本向量
rerank: 重排, 重排序, 排序
time series: 时间序列, 时序预测, 预测
semantic search: 语义搜索, 语义检索, 检索
code: 代码, 编程, 写代码, 程式碼, 代码生成
math: 数学
medical: 医疗, 医学, 医药
legal: 法律
finance: 金融
small: 小, 小型, 轻量, 轻量级
large: 大, 大型
multilingual: 多语言, 多語言, 多语种
quantized: 量化
reasoning: 推理, 思考
roleplay: 角色扮演
chinese: 中文的, 国产
-: 的, 地, 得, 用, 于, 在, 和, 与, 或, 是, 有, 能, 可以, 可, 我, 我的, 一个, 个, 最好, 最好的, 最强, 最新, 好的
-: 好, 没有, 有没有, 更, 尺寸, 效果, 推荐, 请, 给, 做, 适合, 用于, 支持
-: 运行, 跑, 上, 中, 下, 里, 免费, 许可, 许可证, 协议, 什么, 哪个, 哪些, 怎么, 找, 需要, 了, 吗, 呢, 版, 版本
-: 生成, 任务, 性能, 快, 快速
"""
_KOREAN = """
uncensored: 무검열, 검열 없는
or less: 이하, 미만
or more: 이상
parameters: 파라미터, 매개변수
context: 컨텍스트, 문맥
long context: 긴 컨텍스트, 긴 문맥
vram: 메모리
locally: 로컬, 로컬에서
my laptop: 내 노트북, 노트북, 내 컴퓨터
commercial use: 상업용, 상업적, 상업적 이용, 상업적 사용, 상업 이용
open source: 오픈소스, 오픈 소스
model: 모델, 인공지능
llm: 언어 모델, 언어모델, 대규모 언어 모델, 거대 언어 모델, 거대언어모델
chat: 챗봇, 대화, 채팅, 챗, 대화형
translation: 번역, 기계번역, 기계 번역, 번역기
summarization: 요약, 문서 요약
speech recognition: 음성인식, 음성 인식, 받아쓰기, 자막
text to speech: 음성합성, 음성 합성, 음성 생성
text to image: 이미지생성, 이미지 생성, 그림 생성, 그림
image classification: 이미지 분류, 이미지분류, 이미지 인식
image segmentation: 이미지 분할, 분할
object detection: 객체 탐지, 객체탐지, 객체 인식, 사물 인식
image captioning: 이미지 설명, 이미지 캡션
image text to text: 멀티모달, 비전
ocr: 문자 인식, 글자 인식
sentiment analysis: 감정 분석, 감성 분석, 감정분석, 감성분석
text classification: 텍스트 분류, 문장 분류
named entity recognition: 개체명 인식, 개체명인식
question answering: 질의응답, 질의 응답
embedding: 임베딩, 벡터
rerank: 리랭커, 재순위
time series: 시계열, 시계열 예측
semantic search: 의미 검색, 검색
code: 코딩, 코드, 프로그래밍, 코드 생성
math: 수학
medical: 의료, 의학
legal: 법률
finance: 금융
small: 작은, 소형, 경량
large: 큰, 대형
multilingual: 다국어
quantized: 양자화
reasoning: 추론
-: 를, 을, 이, 가, 은, 는, 의, 에, 에서, 로, 으로, 와, 과, 도, 용, 위한, 하는, 할, 한, 수, 있는, 있나요, 추천
-: 해줘, 좋은, 최고의, 최고, 최신, 무료, 라이선스
-: 파라미터, 매개변수, 내, 제, 돌아가는, 돌릴, 실행, 가능한, 사용, 찾아줘, 필요, 필요해, 생성, 텍스트
"""
FILLER = "-"
"""What stands for a word without a meaning in a query."""

_SPACED = {
    "German": _GERMAN, "French": _FRENCH, "Spanish": _SPANISH, "Portuguese": _PORTUGUESE, "Italian": _ITALIAN,
    "Dutch": _DUTCH, "Russian": _RUSSIAN, "Turkish": _TURKISH, "Polish": _POLISH,
}  # fmt: skip
_UNSPACED = (_JAPANESE, _CHINESE, _KOREAN)


@cache
def spaced_tables() -> dict[str, dict[str, str]]:
    """Return by language its phrases and what they mean, where words have spaces."""
    return {name: _phrases(table) for name, table in _SPACED.items()}


@cache
def unspaced_phrases() -> dict[str, str]:
    """Return the phrases of Japanese, Chinese and Korean, and what they mean.

    One table, since they share characters.
    """
    merged: dict[str, str] = {}
    for table in _UNSPACED:
        for phrase, meaning in _phrases(table).items():
            # What means something in one of them is not a filler word of another.
            if merged.get(phrase, FILLER) == FILLER:
                merged[phrase] = meaning
    return merged


def _phrases(table: str) -> dict[str, str]:
    pairs = [(meaning, forms.split(", ")) for meaning, forms in read_table(table)]
    # Fillers first: a word that is in both means something.
    return {form: meaning for meaning, forms in sorted(pairs, key=lambda pair: pair[0] != FILLER) for form in forms}
